//! The Ebb that the machine serves: it reads the front end's files, a part at a time, and sends what it finds as it finds it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use ebb::{EbbRef, ebb};
use ebb_distributed::{RemoteRef, Sink, remote};
use ebb_offload::{Error, Files, FilesAt, FrontEnd, Kind};
use minicbor::{Decode, Encode};

use crate::FRONT_END;

/// What a search tells.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Found {
    /// A line with the word.
    #[n(0)]
    Line {
        #[n(0)]
        path: String,
        #[n(1)]
        number: u64,
        #[n(2)]
        text: String,
    },
    /// A file that was not read to its end.
    #[n(1)]
    Skipped {
        #[n(0)]
        path: String,
        #[n(1)]
        why: String,
    },
    /// The last one.
    #[n(2)]
    End {
        #[n(0)]
        files: u64,
        #[n(1)]
        bytes: u64,
        #[n(2)]
        user: String,
    },
}

/// A longer line is not looked at beyond this, so that no file takes the machine's memory.
const LONGEST_LINE: usize = 4096;
/// Entries of a directory.
const MOST_ENTRIES: usize = 100_000;

#[ebb(distributed)]
#[derive(Default)]
pub struct Search {}

#[remote(name = "offload.Search")]
impl Search {
    /// The lines with a word in all files.
    #[remote(stream)]
    pub async fn lines(&self, word: String, out: Sink<Found>) {
        let files = EbbRef::<Files>::new().at(FRONT_END);
        let (mut count, mut bytes) = (0, 0);
        // Directories that are still to be read. Links are left alone: some lead in circles.
        let mut directories = Vec::from([String::from(".")]);
        while let Some(directory) = directories.pop() {
            let entries = match files.entries(&directory, MOST_ENTRIES).await {
                Ok(entries) => entries,
                Err(error) => {
                    let skipped = skipped(&directory, error);
                    if out.send(skipped).await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            for entry in entries {
                let path = format!("{directory}/{}", entry.name);
                match entry.kind {
                    Kind::Directory => directories.push(path),
                    Kind::File => {
                        count += 1;
                        match search(files, &path, &word, &out).await {
                            Ok(read) => bytes += read,
                            Err(Stopped::Unread(error)) => {
                                let _ = out.send(skipped(&path, error)).await;
                            }
                            // Nobody wants to know any more.
                            Err(Stopped::Over) => return,
                        }
                    }
                    Kind::Link | Kind::Other => {}
                }
            }
        }
        let user = EbbRef::<FrontEnd>::new()
            .at(FRONT_END)
            .variable("USER".into());
        let user = user
            .await
            .ok()
            .flatten()
            .unwrap_or_else(|| "somebody".into());
        let _ = out
            .send(Found::End {
                files: count,
                bytes,
                user,
            })
            .await;
    }
}

fn skipped(path: &str, error: Error) -> Found {
    Found::Skipped {
        path: path.into(),
        why: error.to_string(),
    }
}

enum Stopped {
    Unread(Error),
    Over,
}

/// Searches a file; gives its bytes. It is never in memory as a whole.
async fn search(files: FilesAt, path: &str, word: &str, out: &Sink<Found>) -> Result<u64, Stopped> {
    let mut reader = files.open(path).await.map_err(Stopped::Unread)?;
    let (mut line, mut number, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let part = reader.next().await.map_err(Stopped::Unread)?;
        let is_end = part.is_none();
        let part = part.unwrap_or_default();
        bytes += part.len() as u64;
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                number += 1;
                tell(path, number, &line, word, out).await?;
                line.clear();
            }
        }
        if is_end {
            tell(path, number + 1, &line, word, out).await?;
            return Ok(bytes);
        }
    }
}

async fn tell(
    path: &str,
    number: u64,
    line: &[u8],
    word: &str,
    out: &Sink<Found>,
) -> Result<(), Stopped> {
    let text = String::from_utf8_lossy(line);
    if !text.contains(word) {
        return Ok(());
    }
    let found = Found::Line {
        path: path.trim_start_matches("./").into(),
        number,
        text: text.trim().into(),
    };
    out.send(found).await.map_err(|_| Stopped::Over)
}
