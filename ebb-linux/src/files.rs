//! Programs and libraries out of the boot archive.

use crate::elf::Image;
use crate::object::errno::Errno;
use ebb_archive::Kind;

/// A program's file.
///
/// # Errors
/// `ENOENT`, `EACCES` when it is no file.
pub fn image(path: &[u8], note: u32) -> Result<Image<'static>, Errno> {
    let node = crate::world::archive()
        .ok_or(Errno::ENOENT)?
        .resolve(path)
        .ok_or(Errno::ENOENT)?;
    if node.kind() != Kind::File {
        return Err(Errno::EACCES);
    }
    let bytes = node.data();
    // The archive lies in the linear map, a file's bytes begin on a page.
    let frames = ebb_mem::virt_to_phys(bytes.as_ptr());
    Ok(Image {
        bytes,
        frames: frames.filter(|f| !bytes.is_empty() && f.is_aligned(ebb_mem::space::PAGE)),
        note,
    })
}
