//! What is wrong with a field of a message.

/// A field that does not hold what its format allows; the message is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct FieldError {
    /// The field's name as in `proto/`.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: FieldFault,
}

/// What can be wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldFault {
    /// It must be set.
    #[error("missing")]
    Missing,
    /// A byte string has a length that its format does not know.
    #[error("{bytes} bytes long")]
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// A list is too long.
    #[error("{count} items, at most {most} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A number is too small or too large.
    #[error("{value} is not from {least} to {most}")]
    OutOfRange {
        /// What was sent.
        value: u64,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
    },
    /// A value of an enum, or a kind of thing, that this version does not know.
    #[error("unknown value {value}")]
    Unknown {
        /// What was sent.
        value: i64,
    },
    /// Several fields do not go together, or text cannot be parsed.
    #[error("{why}")]
    Refused {
        /// Why, in words.
        why: Box<str>,
    },
}

impl FieldError {
    pub(crate) fn missing(field: &'static str) -> Self {
        Self {
            field,
            fault: FieldFault::Missing,
        }
    }

    pub(crate) fn length(field: &'static str, bytes: usize) -> Self {
        Self {
            field,
            fault: FieldFault::Length { bytes },
        }
    }

    pub(crate) fn too_many(field: &'static str, count: usize, most: usize) -> Self {
        Self {
            field,
            fault: FieldFault::TooMany { count, most },
        }
    }

    pub(crate) fn unknown(field: &'static str, value: impl Into<i64>) -> Self {
        Self {
            field,
            fault: FieldFault::Unknown {
                value: value.into(),
            },
        }
    }

    pub(crate) fn refused(field: &'static str, why: impl Into<Box<str>>) -> Self {
        Self {
            field,
            fault: FieldFault::Refused { why: why.into() },
        }
    }
}

/// Checks a number against its bounds, and narrows it to the type that holds them.
pub(crate) fn within<T: TryFrom<u64>>(
    field: &'static str,
    value: impl Into<u64>,
    least: u64,
    most: u64,
) -> Result<T, FieldError> {
    let value = value.into();
    let fault = FieldFault::OutOfRange { value, least, most };
    if value < least || value > most {
        return Err(FieldError { field, fault });
    }
    T::try_from(value).map_err(|_| FieldError { field, fault })
}

/// Takes bytes of a fixed length.
pub(crate) fn fixed<const N: usize>(
    field: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], FieldError> {
    bytes
        .try_into()
        .map_err(|_| FieldError::length(field, bytes.len()))
}
