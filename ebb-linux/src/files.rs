//! Programs and libraries out of the boot archive.

use crate::elf::Image;
use crate::object::errno::Errno;
use ebb_archive::{Archive, Kind};
use ebb_runtime::EbbRef;
use ebb_runtime::platform::Environment;

/// The boot archive.
///
/// # Errors
/// `ENOENT` when there is none or it is damaged.
pub fn archive() -> Result<Archive<'static>, Errno> {
    Archive::new(EbbRef::<dyn Environment>::get().archive()).map_err(|_| Errno::ENOENT)
}

/// A program's file.
///
/// # Errors
/// `ENOENT`, `EACCES` when it is no file.
pub fn image(path: &[u8], note: u32) -> Result<Image<'static>, Errno> {
    let node = archive()?.resolve(path).ok_or(Errno::ENOENT)?;
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
