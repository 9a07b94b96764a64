//! Files of programs that are there before a call needs them: unpacked when the program was uploaded, or left from an instance that could not be
//! captured, so that the next one is started from them as well.
//!
//! What must hold: they belong to the very text that they were unpacked from, and all of them have at most [`MOST`] bytes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use ebb::{EbbRef, ebb, spawn};
use ebb_openwhisk::code::CodeText;
use ebb_openwhisk::json::Json;
use spin::mutex::SpinMutex;

use super::archive::UnpackedFile;
use super::upload::files_of;
use crate::instance::InstanceMaker;

/// Bytes of all files.
pub(super) const MOST: usize = 32 << 20;
/// How an ELF file begins, in base64. Archives are not unpacked ahead: those of other kinds begin like those of programs.
const ELF: &str = "\"f0VMR";

struct Kept {
    /// By identity. What nobody else has any more is of no use.
    code: Json,
    files: Vec<UnpackedFile>,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.bytes.len()).sum()
    }
}

/// The files, those that were used last at the end.
#[ebb(shared)]
#[derive(Default)]
pub struct Unpacked {
    kept: SpinMutex<VecDeque<Kept>>,
}

impl Unpacked {
    /// The files of this text.
    pub(super) fn get(&self, code: &Json) -> Option<Vec<UnpackedFile>> {
        let kept = self.kept.lock();
        let found = kept.iter().find(|kept| kept.code.is(code))?;
        Some(found.files.clone())
    }

    /// Keeps the files of a text, in place of those that were not used for longest.
    pub(super) fn keep(&self, code: &Json, files: &[UnpackedFile]) {
        let new = Kept {
            code: code.clone(),
            files: files.to_vec(),
        };
        if new.bytes() > MOST / 2 {
            return;
        }
        let mut kept = self.kept.lock();
        let (mut gone, mut left): (Vec<_>, VecDeque<_>) = (Vec::new(), VecDeque::new());
        let mut room = MOST - new.bytes();
        // From the newest on.
        for old in kept.drain(..).rev() {
            let stays = !old.code.is(code) && !old.code.is_last() && old.bytes() <= room;
            if stays {
                room -= old.bytes();
                left.push_front(old);
            } else {
                gone.push(old);
            }
        }
        left.push_back(new);
        *kept = left;
        drop(kept);
        // To free them takes long.
        drop(gone);
    }

    /// Nobody will start this program from its files any more.
    pub(super) fn forget(&self, code: &Json) {
        let mut kept = self.kept.lock();
        let at = kept.iter().position(|kept| kept.code.is(code));
        let gone = at.and_then(|at| kept.remove(at));
        drop(kept);
        drop(gone);
    }
}

/// Unpacks what was uploaded, if it is a program and there is memory.
pub(crate) fn unpack_ahead(code: &CodeText) {
    let is_program = code.binary && code.json.as_str().starts_with(ELF);
    let missing = EbbRef::<dyn InstanceMaker>::get().missing_bytes();
    if !is_program || missing > 0 || code.length / 4 * 3 > MOST / 2 {
        return;
    }
    let code = code.json.clone();
    drop(spawn(async move {
        // What is wrong with it is told to who calls it.
        if let Ok(files) = files_of(&code, true).await {
            EbbRef::<Unpacked>::get().keep(&code, &files);
        }
    }));
}
