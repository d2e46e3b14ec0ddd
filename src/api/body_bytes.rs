//! [`BodyBytes`]: a body that arrives bit by bit.

/// Bytes that may be in the first piece, which grows by copies; a body that is handled at once has no other.
const FIRST_PIECE: usize = 64 << 10;
/// Size of the pieces after it.
const PIECE: usize = 256 << 10;

/// The bytes of a body in pieces. A large one is never copied to grow, because while many arrive at once, their old copies
/// would take as much memory again.
#[derive(Debug, Default)]
pub(super) struct BodyBytes {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
    len: usize,
}

impl BodyBytes {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes, if they are in one piece; those of a body of up to 64 KiB are.
    pub(super) fn in_one_piece(&self) -> Option<&[u8]> {
        self.full.is_empty().then_some(&self.last)
    }

    /// Adds bytes at the end.
    pub(super) fn extend(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            if self.last.len() >= self.piece_size() {
                self.full.push(std::mem::replace(&mut self.last, Vec::with_capacity(PIECE)));
            }
            let room = self.piece_size() - self.last.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.last.extend_from_slice(now);
            bytes = later;
        }
    }

    fn piece_size(&self) -> usize {
        if self.full.is_empty() { FIRST_PIECE } else { PIECE }
    }

    /// The bytes in one piece.
    pub(super) fn join(self) -> Vec<u8> {
        if self.full.is_empty() {
            return self.last;
        }
        let mut whole = Vec::with_capacity(self.len);
        for piece in self.full {
            whole.extend_from_slice(&piece);
        }
        whole.extend_from_slice(&self.last);
        whole
    }
}

impl From<Vec<u8>> for BodyBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len(), last: bytes, full: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_however_it_arrives() {
        let whole: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        for chunk in [7, FIRST_PIECE, FIRST_PIECE + 1, PIECE, 999_999, 1_000_000] {
            for len in [0, 1, FIRST_PIECE, FIRST_PIECE + 1, FIRST_PIECE + PIECE, 1_000_000] {
                let mut body = BodyBytes::default();
                whole[..len].chunks(chunk).for_each(|chunk| body.extend(chunk));
                assert_eq!(body.len(), len);
                assert!(body.join() == whole[..len], "{len} bytes in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_body_takes_little_more_than_its_size_while_it_arrives() {
        let mut body = BodyBytes::default();
        for _ in 0..1000 {
            body.extend(&[b' '; 10_000]);
            let reserved = body.full.iter().map(Vec::capacity).sum::<usize>() + body.last.capacity();
            assert!(reserved <= body.len() + FIRST_PIECE + PIECE, "{reserved} for {}", body.len());
        }
    }
}
