//! Reading Cassandra's binary encodings, never past the end.

use super::sstable::SstableError;

/// A position in a file's bytes.
pub(crate) struct Bytes<'a> {
    file: &'a str,
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(file: &'a str, all: &'a [u8]) -> Self {
        Self { file, all, at: 0 }
    }

    pub(crate) fn error(&self, what: &'static str) -> SstableError {
        SstableError::Damaged { file: self.file.to_owned(), offset: self.at, what }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.all.len()
    }

    pub(crate) fn seek(&mut self, at: usize) -> Result<(), SstableError> {
        if at > self.all.len() {
            return Err(self.error("an offset past the end"));
        }
        self.at = at;
        Ok(())
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], SstableError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.all.len());
        let end = end.ok_or_else(|| self.error("a length past the end"))?;
        let taken = &self.all[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], SstableError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, SstableError> {
        Ok(u8::from_be_bytes(self.fixed()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, SstableError> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, SstableError> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, SstableError> {
        Ok(u64::from_be_bytes(self.fixed()?))
    }

    /// An unsigned vint: the leading ones of the first byte count the bytes that follow (VIntCoding).
    pub(crate) fn vint(&mut self) -> Result<u64, SstableError> {
        let first = self.u8()?;
        let extra = first.leading_ones() as usize;
        let mut value = if extra >= 8 { 0 } else { u64::from(first) & (0xff_u64 >> extra) };
        for byte in self.take(extra)? {
            value = value << 8 | u64::from(*byte);
        }
        Ok(value)
    }

    /// A count or length, which is never more than what is left.
    pub(crate) fn length(&mut self) -> Result<usize, SstableError> {
        let length = self.vint()?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.all.len() - self.at)
            .ok_or_else(|| self.error("a length past the end"))
    }

    /// Bytes with their length before them as a vint.
    pub(crate) fn with_vint_length(&mut self) -> Result<&'a [u8], SstableError> {
        let length = self.length()?;
        self.take(length)
    }

    /// Bytes with their length before them in two bytes.
    pub(crate) fn with_short_length(&mut self) -> Result<&'a [u8], SstableError> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;

    #[test]
    fn vints_of_every_length_are_read() {
        for (bytes, expected) in [
            (&[0x7f][..], 0x7f),
            (&[0x80, 0x80], 0x80),
            (&[0xbf, 0xff], 0x3fff),
            (&[0xc0, 0x40, 0x00], 0x4000),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0, 5], 5),
            (&[0xff; 9], u64::MAX),
        ] {
            assert_eq!(Bytes::new("f", bytes).vint().unwrap(), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        assert!(Bytes::new("f", &[0xff, 1]).vint().is_err());
        assert!(Bytes::new("f", &[5, 1]).with_vint_length().is_err());
        assert!(Bytes::new("f", &[0, 9, 1]).with_short_length().is_err());
    }
}
