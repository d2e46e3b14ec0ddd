//! vLLM's ways to write the numbers of `/pooling` and `/v1/embeddings`: as JSON, in base 64, or as bytes.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::scoring::ScoredTexts;
use super::vllm::List;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::wire::{Usage, new_id, unix_time};

/// The header in which a response of bytes says where each text's numbers are.
const METADATA: HeaderName = HeaderName::from_static("metadata");
/// Clients read header lines up to 64 KiB.
const LONGEST_METADATA: usize = 60 << 10;
const FORMATS: [&str; 4] = ["float", "base64", "bytes", "bytes_only"];
const TYPES: [&str; 5] = ["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"];

/// How numbers are written: `encoding_format`, `embed_dtype` and `endianness` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) format: Format,
    dtype: &'static str,
    endianness: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Float,
    Base64,
    /// Bytes, and a header that describes them.
    Bytes,
    BytesOnly,
}

/// The schema of `encoding_format`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EncodingFormat {
    Float,
    Base64,
    Bytes,
    BytesOnly,
}

/// The schema of `embed_dtype`.
#[derive(Deserialize, ToSchema)]
pub(super) enum EmbedDtype {
    #[serde(rename = "float32")]
    Float32,
    #[serde(rename = "float16")]
    Float16,
    #[serde(rename = "bfloat16")]
    Bfloat16,
    #[serde(rename = "fp8_e4m3")]
    Fp8E4m3,
    #[serde(rename = "fp8_e5m2")]
    Fp8E5m2,
}

/// The schema of `endianness`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Endianness {
    Native,
    Little,
    Big,
}

/// The numbers of one text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    Row(Vec<f32>),
    /// Rows of equal length.
    Rows(Vec<Vec<f32>>),
}

/// Numbers as JSON has them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Written {
    Row(Vec<f64>),
    Rows(Vec<Vec<f64>>),
    Base64(String),
}

/// Where a text's numbers are in a response of bytes.
#[derive(Debug, Serialize)]
struct Part {
    index: usize,
    embed_dtype: &'static str,
    endianness: &'static str,
    start: usize,
    end: usize,
    shape: Vec<usize>,
}

/// What the header of a response of bytes says.
#[derive(Debug, Serialize)]
struct Metadata<'a> {
    id: String,
    created: u64,
    model: &'a str,
    data: Vec<Part>,
    usage: Usage,
}

impl Encoding {
    /// Takes the three fields out of a request.
    ///
    /// # Errors
    /// One of them is unknown.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let format = match fields.take_one_of("encoding_format", &FORMATS)? {
            Some("base64") => Format::Base64,
            Some("bytes") => Format::Bytes,
            Some("bytes_only") => Format::BytesOnly,
            _ => Format::Float,
        };
        Ok(Self {
            format,
            dtype: fields.take_one_of("embed_dtype", &TYPES)?.unwrap_or("float32"),
            endianness: fields.take_one_of("endianness", &["native", "little", "big"])?.unwrap_or("native"),
        })
    }

    /// The numbers of a text as JSON has them.
    pub(super) fn write(self, numbers: &Numbers) -> Written {
        let widen = |row: &Vec<f32>| row.iter().copied().map(f64::from).collect();
        match (self.format, numbers) {
            (Format::Base64, numbers) => Written::Base64(STANDARD.encode(self.pack(numbers))),
            (_, Numbers::Row(row)) => Written::Row(widen(row)),
            (_, Numbers::Rows(rows)) => Written::Rows(rows.iter().map(widen).collect()),
        }
    }

    /// The response with the numbers of all texts: in bytes, or a list of what `item` makes of each.
    ///
    /// # Errors
    /// The header that describes the bytes would be longer than clients read.
    pub(super) fn respond<F, T: Serialize>(
        self,
        prefix: &str,
        texts: &ScoredTexts<'_, F>,
        numbers: &[Numbers],
        item: fn(usize, Written) -> T,
    ) -> Result<Response, ApiError> {
        let (model, usage) = (texts.model.name, texts.usage());
        if matches!(self.format, Format::Bytes | Format::BytesOnly) {
            let response = self.respond_in_bytes(new_id(prefix), unix_time(), model, numbers, usage)?;
            return Ok(texts.respond_with(response));
        }
        let mut data = Vec::with_capacity(numbers.len());
        for (index, numbers) in numbers.iter().enumerate() {
            data.push(item(index, self.write(numbers)));
        }
        Ok(texts.respond(List::new(prefix, model, data, usage)))
    }

    /// A response whose body is the numbers of all texts alone. Unless the client wants only bytes, a header carries
    /// the rest of the JSON response.
    ///
    /// # Errors
    /// The header would be longer than clients read.
    fn respond_in_bytes(
        self,
        id: String,
        created: u64,
        model: &str,
        texts: &[Numbers],
        usage: Usage,
    ) -> Result<Response, ApiError> {
        let (mut body, mut data) = (Vec::new(), Vec::with_capacity(texts.len()));
        for (index, numbers) in texts.iter().enumerate() {
            let start = body.len();
            body.extend(self.pack(numbers));
            let (end, shape) = (body.len(), numbers.shape());
            data.push(Part {
                index,
                embed_dtype: self.dtype,
                endianness: self.endianness,
                start,
                end,
                shape,
            });
        }
        let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
        if self.format == Format::BytesOnly {
            return Ok(response);
        }
        let metadata = serde_json::to_string(&Metadata { id, created, model, data, usage });
        let metadata = in_ascii(&metadata.map_err(ApiError::internal)?);
        if metadata.len() > LONGEST_METADATA {
            let reason = "describes each text in a header, which has no room for this many: send fewer, or \
                          `bytes_only`";
            return Err(ApiError::invalid("encoding_format", reason));
        }
        let metadata = HeaderValue::from_str(&metadata).map_err(ApiError::internal)?;
        response.headers_mut().insert(METADATA, metadata);
        Ok(response)
    }

    fn pack(self, numbers: &Numbers) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in numbers.iter() {
            self.push(&mut bytes, number);
        }
        bytes
    }

    fn push(self, bytes: &mut Vec<u8>, number: f32) {
        let start = bytes.len();
        match self.dtype {
            "float16" => bytes.extend(f16::from_f32(number).to_ne_bytes()),
            "bfloat16" => bytes.extend(bf16::from_f32(number).to_ne_bytes()),
            "fp8_e4m3" => bytes.push(Fp8::E4M3.encode(number)),
            "fp8_e5m2" => bytes.push(Fp8::E5M2.encode(number)),
            _ => bytes.extend(number.to_ne_bytes()),
        }
        let native = if cfg!(target_endian = "big") { "big" } else { "little" };
        if self.endianness != "native" && self.endianness != native {
            bytes[start..].reverse();
        }
    }
}

impl Numbers {
    fn iter(&self) -> impl Iterator<Item = f32> {
        let rows = match self {
            Self::Row(row) => std::slice::from_ref(row),
            Self::Rows(rows) => rows,
        };
        rows.iter().flatten().copied()
    }

    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Row(row) => vec![row.len()],
            Self::Rows(rows) => vec![rows.len(), rows.first().map_or(0, Vec::len)],
        }
    }
}

/// JSON with only ASCII characters, which headers need.
fn in_ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() {
            text.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    text
}

/// A float of 8 bits. Numbers are rounded as PyTorch rounds them.
struct Fp8 {
    mantissa: u32,
    bias: i32,
    /// The code of what is too large.
    overflow: u8,
}

impl Fp8 {
    /// `float8_e4m3fn`, which has no infinity.
    const E4M3: Self = Self { mantissa: 3, bias: 7, overflow: 0x7e };
    /// `float8_e5m2`.
    const E5M2: Self = Self { mantissa: 2, bias: 15, overflow: 0x7c };

    /// The nearest float of 8 bits; of two that are as near, the even one. Scores are never NaN.
    fn encode(&self, number: f32) -> u8 {
        let sign = if number.is_sign_negative() { 0x80 } else { 0 };
        let magnitude = f64::from(number.abs());
        // Subnormal numbers are evenly spaced.
        let exponent = (magnitude.log2().floor().max(-1e3) as i32).max(1 - self.bias);
        let step = 2f64.powi(exponent - self.mantissa as i32);
        let steps = (magnitude / step).round_ties_even();
        // The leading 1 of a normal number is a step of the exponent's.
        let code = f64::from(((exponent + self.bias - 1) as u32) << self.mantissa) + steps;
        sign | code.min(f64::from(self.overflow)) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_8_bits_are_those_of_pytorch() {
        // From `torch.tensor(xs).to(dtype).view(torch.uint8)` of PyTorch 2.
        let numbers = [
            0.0,
            -0.0,
            1.0,
            -1.5,
            0.3,
            2.03,
            -14.5625,
            448.0,
            463.0,
            465.0,
            479.0,
            480.0,
            1e9,
            1e-9,
            0.0009765625,
            0.0019,
            0.015,
            57344.0,
            61439.0,
            61440.0,
            1e6,
            3.1e-5,
            7e-6,
            0.0625,
            1.0625,
            1.1875,
        ];
        let e4m3 = [
            0, 128, 56, 188, 42, 64, 215, 126, 126, 126, 126, 126, 126, 0, 0, 1, 8, 126, 126, 126, 126, 0, 0,
            24, 56, 58,
        ];
        let e5m2 = [
            0, 128, 60, 190, 53, 64, 203, 95, 95, 95, 95, 96, 124, 0, 20, 24, 36, 123, 123, 124, 124, 2, 0,
            44, 60, 61,
        ];
        for (index, number) in numbers.into_iter().enumerate() {
            assert_eq!(Fp8::E4M3.encode(number), e4m3[index], "{number}");
            assert_eq!(Fp8::E5M2.encode(number), e5m2[index], "{number}");
        }
    }

    #[test]
    fn bytes_have_the_type_and_the_order_that_are_asked_for() {
        let pack = |dtype, endianness| {
            Encoding { format: Format::Bytes, dtype, endianness }.pack(&Numbers::Row(vec![1.0, -2.0]))
        };
        assert_eq!(pack("float32", "little"), [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
        assert_eq!(pack("float32", "big"), [0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]);
        assert_eq!(pack("float16", "big"), [0x3c, 0, 0xc0, 0]);
        assert_eq!(pack("bfloat16", "little"), [0x80, 0x3f, 0, 0xc0]);
        assert_eq!(pack("fp8_e4m3", "big"), [0x38, 0xc0]);
        let rows = Numbers::Rows(vec![vec![1.0], vec![2.0], vec![3.0]]);
        assert_eq!((rows.shape(), rows.iter().count()), (vec![3, 1], 3));
    }

    #[test]
    fn a_header_is_ascii_only() {
        assert_eq!(in_ascii("\"né😀\""), "\"n\\u00e9\\ud83d\\ude00\"");
    }
}
