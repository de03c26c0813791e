//! Checked reading and writing of big-endian numbers.

use super::Malformed;

/// What is left to read of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Reader { left: bytes }
    }

    pub(crate) const fn left(&self) -> &'a [u8] {
        self.left
    }

    /// The next `len` bytes; `what` names them in the error.
    pub(crate) fn bytes(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, left)) = self.left.split_at_checked(len) else {
            return Err(Malformed::Truncated { what, needs: len, left: self.left.len() });
        };
        self.left = left;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let Some((taken, left)) = self.left.split_first_chunk::<N>() else {
            return Err(Malformed::Truncated { what, needs: N, left: self.left.len() });
        };
        self.left = left;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u24(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_be_bytes)
    }
}

/// The buffer has no room for what was to be written. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A buffer that is being filled.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(buf: &'a mut [u8]) -> Self {
        Writer { buf, at: 0 }
    }

    /// How many bytes were written.
    pub(crate) const fn len(&self) -> usize {
        self.at
    }

    /// Takes back what was written behind the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.at = self.at.min(len);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.at.checked_add(bytes.len()).ok_or(Full)?;
        self.buf.get_mut(self.at..end).ok_or(Full)?.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    /// `len` zero bytes.
    pub(crate) fn zeros(&mut self, len: usize) -> Result<(), Full> {
        let end = self.at.checked_add(len).ok_or(Full)?;
        self.buf.get_mut(self.at..end).ok_or(Full)?.fill(0);
        self.at = end;
        Ok(())
    }

    pub(crate) fn u8(&mut self, value: u8) -> Result<(), Full> {
        self.bytes(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> Result<(), Full> {
        self.bytes(&value.to_be_bytes())
    }

    /// The low 24 bits of `value`.
    pub(crate) fn u24(&mut self, value: u32) -> Result<(), Full> {
        self.bytes(&value.to_be_bytes()[1..])
    }

    pub(crate) fn u32(&mut self, value: u32) -> Result<(), Full> {
        self.bytes(&value.to_be_bytes())
    }
}
