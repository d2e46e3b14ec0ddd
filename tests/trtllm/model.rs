//! What the stand-in answers with: logits of the CPU engine, for the same weights.

use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Driver;

type Model = unsafe extern "C" fn(*mut c_void, *const i32, usize, *mut f32, usize);

unsafe extern "C" {
    /// Sets what the stand-in answers sequences with if its script says `callback` and this number.
    fn stand_in_set_model(number: usize, model: Model, context: *mut c_void);
}

static MODELS: AtomicUsize = AtomicUsize::new(0);

/// Lets the stand-in answer with what this engine computes, in rows of `width` logits; returns the line
/// for its script.
pub(crate) fn script(engine: Driver, width: usize) -> String {
    let number = 1 + MODELS.fetch_add(1, Ordering::Relaxed);
    // The stand-in may ask for it as long as the program runs.
    let model: &'static Mutex<Driver> = Box::leak(Box::new(Mutex::new(engine)));
    // SAFETY: `compute` takes a `Mutex<Driver>`, and this one is never dropped.
    unsafe { stand_in_set_model(number, compute, std::ptr::from_ref(model).cast_mut().cast()) };
    format!("callback {number}\nvocabulary {width}\nrows {width}\n")
}

/// # Safety
/// `model` is a `Mutex<Driver>`; `tokens` and `logits` point to `count` and `width` elements.
unsafe extern "C" fn compute(
    model: *mut c_void,
    tokens: *const i32,
    count: usize,
    logits: *mut f32,
    width: usize,
) {
    // SAFETY: the caller's promise.
    let (model, tokens, row) = unsafe {
        (
            &*model.cast::<Mutex<Driver>>(),
            std::slice::from_raw_parts(tokens, count),
            std::slice::from_raw_parts_mut(logits, width),
        )
    };
    let tokens: Vec<u32> = tokens.iter().map(|&token| token as u32).collect();
    let computed = model.lock().unwrap().score(&tokens);
    row[..computed.len()].copy_from_slice(&computed);
}
