//! Received bytes as they are lent: in place, until whoever they are shown to has said how many it takes.

use crate::Result;

/// Shows what `receive` lends first to `f`, once; gives what `f` says besides how many bytes it takes, `None` when nothing was lent.
#[inline]
pub(crate) fn once<R>(
    receive: impl FnOnce(&mut dyn FnMut(&[u8]) -> usize) -> Result<bool>,
    f: impl FnOnce(&[u8]) -> (usize, R),
) -> Result<Option<R>> {
    let mut f = Some(f);
    let mut result = None;
    receive(&mut |bytes| match f.take() {
        Some(f) => {
            let (consumed, value) = f(bytes);
            result = Some(value);
            consumed.min(bytes.len())
        }
        None => 0,
    })?;
    Ok(result)
}

/// Copies as much as there is room for; says how many bytes.
#[inline]
pub(crate) fn copy(bytes: &[u8], buffer: &mut [u8]) -> usize {
    let n = bytes.len().min(buffer.len());
    buffer[..n].copy_from_slice(&bytes[..n]);
    n
}
