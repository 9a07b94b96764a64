//! The kernel command line: typed options first, then `--` and the application's arguments.
//!
//! The image splits it at blanks. In an argument, blanks, control characters, `%` and all bytes
//! above 0x7e are written `%XX` (two hexadecimal digits, as in a URL), so arguments of any bytes
//! arrive as they were. An empty argument is the single word `%`.

use std::{ffi::OsStr, fmt::Write as _, os::unix::ffi::OsStrExt};

use crate::failure::Failure;

/// The firmware's buffer for the command line is 4096 bytes, the last one 0.
pub const LIMIT: usize = 4095;

/// Joins options and arguments.
///
/// # Errors
/// When the line is longer than [`LIMIT`].
pub fn join(options: &[String], arguments: &[impl AsRef<OsStr>]) -> Result<String, Failure> {
    join_within(LIMIT, options, arguments)
}

/// As [`join`], where QEMU adds something to the line.
///
/// # Errors
/// When the line is longer than `limit`.
pub fn join_within(
    limit: usize,
    options: &[String],
    arguments: &[impl AsRef<OsStr>],
) -> Result<String, Failure> {
    let mut line = options.join(" ");
    if !arguments.is_empty() {
        line.push_str(if line.is_empty() { "--" } else { " --" });
    }
    for argument in arguments {
        line.push(' ');
        encode(argument.as_ref().as_bytes(), &mut line);
    }
    if line.len() > limit {
        return Err(Failure::unusable(format!(
            "the image's options and arguments take {} bytes, the firmware passes at most {limit}.\n\
             Put long input into a file of the boot archive, or send it over the network or the console.",
            line.len()
        )));
    }
    Ok(line)
}

fn encode(argument: &[u8], line: &mut String) {
    if argument.is_empty() {
        line.push('%');
    }
    for &byte in argument {
        if byte.is_ascii_graphic() && byte != b'%' {
            line.push(char::from(byte));
        } else {
            let _ = write!(line, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(options: &[&str], arguments: &[&[u8]]) -> String {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let arguments: Vec<_> = arguments.iter().map(|a| OsStr::from_bytes(a)).collect();
        join(&options, &arguments).unwrap()
    }

    #[test]
    fn arguments_follow_two_dashes_and_options_stand_before() {
        assert_eq!(line(&[], &[]), "");
        assert_eq!(line(&["timeline=full"], &[]), "timeline=full");
        assert_eq!(line(&[], &[b"a"]), "-- a");
        assert_eq!(line(&["x=1", "y"], &[b"a", b"--", b"b"]), "x=1 y -- a -- b");
    }

    #[test]
    fn bytes_that_would_split_or_vanish_are_percent_encoded() {
        assert_eq!(
            line(
                &[],
                &[
                    b"a b",
                    b"",
                    b"100%",
                    b"\t\n\x7f",
                    "h\u{f6}".as_bytes(),
                    b"\xff"
                ]
            ),
            "-- a%20b % 100%25 %09%0A%7F h%C3%B6 %FF"
        );
        assert_eq!(line(&[], &[b"a=\"x,y\"'\\$"]), "-- a=\"x,y\"'\\$");
    }

    #[test]
    fn a_line_that_the_firmware_would_cut_is_refused() {
        let fits = "x".repeat(LIMIT - 3);
        assert_eq!(join(&[], &[&fits]).unwrap().len(), LIMIT);
        let failure = join(&[], &[fits + "x"]).unwrap_err();
        assert!(failure.message.contains("4096 bytes"), "{failure}");
    }
}
