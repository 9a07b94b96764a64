//! The text protocol's grammar: a line is a command.

use crate::{
    KEY_MAX,
    store::{number, signed},
};

/// The line cannot be understood.
pub const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";

/// How to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Whatever is there.
    Set,
    /// If there is nothing.
    Add,
    /// If there is something.
    Replace,
    /// After what is there.
    Append,
    /// Before what is there.
    Prepend,
    /// If nothing has changed since the number was given out.
    Cas(u64),
}

/// The line of a storage command. The value follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage<'a> {
    /// How.
    pub verb: Verb,
    /// Under which key.
    pub key: &'a [u8],
    /// What the client keeps with it.
    pub flags: u32,
    /// Expiry time as the client gave it.
    pub expires: i64,
    /// Bytes of the value.
    pub len: usize,
    /// Whether an answer is wanted.
    pub reply: bool,
}

/// Keys to be answered, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retrieval {
    /// Whether the items' numbers are wanted.
    pub cas: bool,
    /// The new expiry time, if it is to be changed.
    pub touch: Option<i64>,
    /// Where in the line the keys begin.
    pub keys: usize,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Retrieve(Retrieval),
    /// `set` and its like.
    Store(Storage<'a>),
    /// `incr`, `decr`.
    Add {
        /// The number's key.
        key: &'a [u8],
        /// How much.
        delta: u64,
        /// Whether to subtract.
        decrement: bool,
        /// Whether an answer is wanted.
        reply: bool,
    },
    /// `touch`.
    Touch {
        /// Whose time.
        key: &'a [u8],
        /// The new one.
        expires: i64,
        /// Whether an answer is wanted.
        reply: bool,
    },
    /// `delete`.
    Delete {
        /// What.
        key: &'a [u8],
        /// Whether an answer is wanted.
        reply: bool,
    },
    /// `flush_all`.
    Flush {
        /// In how many seconds, or when.
        delay: i64,
        /// Whether an answer is wanted.
        reply: bool,
    },
    /// `stats`, with its argument.
    Stats(&'a [u8]),
    /// `version`.
    Version,
    /// `verbosity`.
    Verbosity {
        /// Whether an answer is wanted.
        reply: bool,
    },
    /// `quit`.
    Quit,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The answer.
    pub answer: &'static str,
    /// Whether an answer is wanted.
    pub reply: bool,
    /// Bytes of a value that follows and is to be skipped.
    pub skip: u64,
}

fn refuse<T>(answer: &'static str) -> Result<T, Refusal> {
    Err(Refusal {
        answer,
        reply: true,
        skip: 0,
    })
}

/// Where `byte` first stands in `bytes`: eight at a time. (`memchr` is faster on long texts, but cannot be linked into an
/// image when any other program of the workspace uses it with `std`.)
#[inline]
#[must_use]
pub fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let pattern = ONES * u64::from(byte);
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // A byte that equals becomes zero, and the lowest zero byte is the first whose top bit comes out set.
        let equal = u64::from_le_bytes(*word) ^ pattern;
        let zero = equal.wrapping_sub(ONES) & !equal & (ONES << 7);
        if zero != 0 {
            return Some(at * 8 + zero.trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|b| *b == byte)?;
    Some(bytes.len() - tail.len() + at)
}

/// Splits off the word that begins at or after `at`; returns it and where it ends.
#[inline]
pub fn word(line: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = line.get(at..)?;
    let start = at + rest.iter().position(|b| *b != b' ')?;
    let len = find(b' ', &line[start..]).unwrap_or(line.len() - start);
    Some((&line[start..start + len], start + len))
}

/// The words of a line, from a place on.
struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (word, end) = word(self.line, self.at)?;
        self.at = end;
        Some(word)
    }

    /// The last word: `noreply` or nothing. Others are ignored, as memcached does.
    fn reply(&mut self) -> bool {
        self.next() != Some(b"noreply")
    }
}

/// A time as a command gives it.
fn time(word: &[u8]) -> Option<i64> {
    signed(word).map(i64::from)
}

/// Understands a line, given without its end.
///
/// # Errors
/// The answer to a line that is no command.
#[inline]
pub fn parse(line: &[u8]) -> Result<Command<'_>, Refusal> {
    let mut words = Words { line, at: 0 };
    let Some(name) = words.next() else {
        return refuse("ERROR");
    };
    let command = match name {
        b"get" | b"gets" => return retrieval(&words, name == b"gets", None),
        b"gat" | b"gats" => {
            let Some(expires) = words.next() else {
                return refuse("ERROR");
            };
            let Some(expires) = time(expires) else {
                return refuse("CLIENT_ERROR invalid exptime argument");
            };
            return retrieval(&words, name == b"gats", Some(expires));
        }
        b"set" => return storage(words, Verb::Set),
        b"add" => return storage(words, Verb::Add),
        b"replace" => return storage(words, Verb::Replace),
        b"append" => return storage(words, Verb::Append),
        b"prepend" => return storage(words, Verb::Prepend),
        b"cas" => return storage(words, Verb::Cas(0)),
        b"incr" | b"decr" => return addition(words, name == b"decr"),
        b"touch" => return touch(words),
        b"delete" => return deletion(words),
        b"flush_all" => return flush(words),
        b"stats" => match words.next() {
            Some(b"noreply") => return refuse("ERROR"),
            topic => Command::Stats(topic.unwrap_or_default()),
        },
        b"version" => Command::Version,
        b"verbosity" => return verbosity(words),
        b"quit" => Command::Quit,
        // A request line of HTTP, from a lost client or from one that somebody abuses (cross-protocol request forgery):
        // its further lines may well be commands, so memcached hangs up, and so does this.
        _ if is_of_http(line) => Command::Quit,
        _ => return refuse("ERROR"),
    };
    Ok(command)
}

fn is_of_http(line: &[u8]) -> bool {
    let mut words = line.rsplit(|b| *b == b' ').filter(|word| !word.is_empty());
    words.next().is_some_and(|last| last.starts_with(b"HTTP/"))
}

/// What follows `incr` and `decr`.
fn addition<'a>(mut words: Words<'a>, decrement: bool) -> Result<Command<'a>, Refusal> {
    let (Some(key), Some(delta)) = (words.next(), words.next()) else {
        return refuse("ERROR");
    };
    check(key)?;
    let Some(delta) = number(delta) else {
        return refuse("CLIENT_ERROR invalid numeric delta argument");
    };
    Ok(Command::Add {
        key,
        delta,
        decrement,
        reply: words.reply(),
    })
}

/// What follows `touch`.
fn touch<'a>(mut words: Words<'a>) -> Result<Command<'a>, Refusal> {
    let (Some(key), Some(expires)) = (words.next(), words.next()) else {
        return refuse("ERROR");
    };
    check(key)?;
    let Some(expires) = time(expires) else {
        return refuse("CLIENT_ERROR invalid exptime argument");
    };
    let reply = words.reply();
    Ok(Command::Touch {
        key,
        expires,
        reply,
    })
}

/// What follows `delete`.
fn deletion<'a>(mut words: Words<'a>) -> Result<Command<'a>, Refusal> {
    let Some(key) = words.next() else {
        return refuse("ERROR");
    };
    check(key)?;
    let reply = match (words.next(), words.next()) {
        (None, _) | (Some(b"0"), None) => true,
        (Some(b"noreply"), None) | (Some(b"0"), Some(b"noreply")) => false,
        _ => {
            return refuse("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]");
        }
    };
    Ok(Command::Delete { key, reply })
}

/// What follows `flush_all`.
fn flush<'a>(mut words: Words<'a>) -> Result<Command<'a>, Refusal> {
    let (delay, reply) = match words.next() {
        None => (0, true),
        Some(b"noreply") => (0, false),
        Some(delay) => match time(delay) {
            Some(delay) => (delay, words.reply()),
            None => return refuse("CLIENT_ERROR invalid exptime argument"),
        },
    };
    Ok(Command::Flush { delay, reply })
}

/// What follows `verbosity`.
fn verbosity<'a>(mut words: Words<'a>) -> Result<Command<'a>, Refusal> {
    match (words.next(), words.next(), words.next()) {
        (Some(b"noreply"), None, _) => Ok(Command::Verbosity { reply: false }),
        (Some(level), last, None) if number(level).is_some() => Ok(Command::Verbosity {
            reply: last != Some(b"noreply"),
        }),
        (Some(_), None, _) => refuse(BAD_FORMAT),
        _ => refuse("ERROR"),
    }
}

fn check(key: &[u8]) -> Result<(), Refusal> {
    if key.len() > KEY_MAX {
        return refuse(BAD_FORMAT);
    }
    Ok(())
}

fn retrieval<'a>(words: &Words<'a>, cas: bool, touch: Option<i64>) -> Result<Command<'a>, Refusal> {
    if word(words.line, words.at).is_none() {
        return refuse("ERROR");
    }
    Ok(Command::Retrieve(Retrieval {
        cas,
        touch,
        keys: words.at,
    }))
}

/// `key flags expires length [number] [noreply]`. A refused line whose length is understood says what to skip, so that a
/// value never counts as commands.
fn storage<'a>(mut words: Words<'a>, verb: Verb) -> Result<Command<'a>, Refusal> {
    let mut next = || words.next();
    let (Some(key), Some(flags), Some(expires), Some(len)) = (next(), next(), next(), next())
    else {
        return refuse("ERROR");
    };
    let Some(len) = signed(len).filter(|len| (0..=i32::MAX - 2).contains(len)) else {
        return refuse(BAD_FORMAT);
    };
    let unique = match verb {
        Verb::Cas(_) => match words.next() {
            None => return refuse("ERROR"),
            Some(unique) => number(unique),
        },
        _ => Some(0),
    };
    let reply = words.reply();
    // Of flags, too, only 32 bits are kept.
    let flags = number(flags).map(|flags| flags as u32);
    match (flags, time(expires), unique) {
        (Some(flags), Some(expires), Some(unique)) if key.len() <= KEY_MAX => {
            Ok(Command::Store(Storage {
                verb: match verb {
                    Verb::Cas(_) => Verb::Cas(unique),
                    verb => verb,
                },
                key,
                flags,
                expires,
                len: len as usize,
                reply,
            }))
        }
        _ => Err(Refusal {
            answer: BAD_FORMAT,
            reply,
            skip: len as u64 + 2,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_storage_line_says_what_to_skip() {
        let long = [b'k'; KEY_MAX + 1];
        let line = [&b"set "[..], &long, b" 0 0 10"].concat();
        let refusal = parse(&line).expect_err("the key is too long");
        assert_eq!((refusal.answer, refusal.skip), (BAD_FORMAT, 12));
        let refusal = parse(b"set k -1 0 10 noreply").expect_err("flags have no sign");
        assert_eq!((refusal.skip, refusal.reply), (12, false));
        let refusal = parse(b"set k 0 0 -1").expect_err("no length");
        assert_eq!(refusal.skip, 0);
    }

    #[test]
    fn find_finds_the_first() {
        let mut bytes = [b'\n' + 1; 40];
        for at in (0..40).rev() {
            bytes[at] = b'\n';
            assert_eq!(find(b'\n', &bytes), Some(at));
            assert_eq!(find(b'\n', &bytes[..at]), None);
        }
    }

    #[test]
    fn words_may_have_several_spaces_between_them() {
        assert_eq!(
            parse(b"  incr  a   5  "),
            Ok(Command::Add {
                key: b"a",
                delta: 5,
                decrement: false,
                reply: true
            })
        );
        assert_eq!(
            parse(b"delete a 0 noreply"),
            Ok(Command::Delete {
                key: b"a",
                reply: false
            })
        );
        assert!(parse(b"delete a 1").is_err());
        assert!(parse(b"get").is_err() && parse(b"get ").is_err() && parse(b"").is_err());
        assert!(parse(b"GET a").is_err());
    }
}
