//! W3C trace contexts in 25 bytes.

/// A W3C trace context: 16 bytes of trace id, 8 bytes of span id, 1 byte of flags.
///
/// Invariant: neither id is all zero, which W3C calls invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext([u8; 25]);

impl TraceContext {
    /// Puts a context together; `None` for an id of zeros.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Option<Self> {
        let mut bytes = [0; 25];
        bytes[..16].copy_from_slice(&trace_id);
        bytes[16..24].copy_from_slice(&span_id);
        bytes[24] = flags;
        Self::from_bytes(bytes)
    }

    /// Takes a context as it travels; `None` for an id of zeros.
    pub fn from_bytes(bytes: [u8; 25]) -> Option<Self> {
        let valid = bytes[..16] != [0; 16] && bytes[16..24] != [0; 8];
        valid.then_some(Self(bytes))
    }

    /// Gives the context as it travels.
    pub fn as_bytes(&self) -> &[u8; 25] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_zeros_are_no_context() {
        assert!(TraceContext::new([0; 16], [1; 8], 1).is_none());
        assert!(TraceContext::new([1; 16], [0; 8], 1).is_none());
        let context = TraceContext::new([1; 16], [2; 8], 3).unwrap();
        assert_eq!(context.as_bytes()[15..17], [1, 2]);
        assert_eq!(context.as_bytes()[24], 3);
    }
}
