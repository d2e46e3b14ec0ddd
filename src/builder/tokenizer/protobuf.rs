//! A reader of protocol buffers, for the one message that is read here.
//!
//! SentencePiece's model is one message with a dozen fields of interest. A general library would bring a code
//! generator or derive macros for them.

/// What a message's field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Integers, enumerations and truth values.
    Varint(u64),
    /// Texts, bytes and nested messages.
    Bytes(&'a [u8]),
    /// Floats.
    Fixed32(u32),
    Fixed64,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtobufError {
    #[error("it is cut off")]
    CutOff,
    #[error("it has a field of an unknown type")]
    UnknownType,
}

/// The fields of a message in their order, with their numbers.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtobufError> {
        let length = usize::try_from(length).map_err(|_| ProtobufError::CutOff)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ProtobufError::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = u64::from(self.take(1)?[0]);
            value |= (byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::CutOff)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), ProtobufError> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            _ => return Err(ProtobufError::UnknownType),
        };
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_their_order_until_the_message_is_cut_off() {
        let message = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f];
        let fields: Result<Vec<_>, _> = Fields::new(&message).collect();
        let one = 1.0_f32.to_bits();
        assert_eq!(
            fields.unwrap(),
            [(1, Value::Varint(150)), (2, Value::Bytes(b"hi")), (3, Value::Fixed32(one))]
        );
        for end in 1..message.len() {
            let cut: Result<Vec<_>, _> = Fields::new(&message[..end]).collect();
            assert!([3, 7].contains(&end) || cut == Err(ProtobufError::CutOff), "{end}");
        }
        assert_eq!(Fields::new(&[0x0b]).next(), Some(Err(ProtobufError::UnknownType)));
        assert_eq!(Fields::new(&[0xff; 20]).next(), Some(Err(ProtobufError::CutOff)));
    }
}
