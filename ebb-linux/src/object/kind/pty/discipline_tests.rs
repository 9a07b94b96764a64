//! One rule of the discipline each.

use alloc::{string::String, vec::Vec};

use super::super::termios::{Input, Local, Output, cc};
use super::*;
use crate::abi::signal::bit;

const COOKED: Local = Local::ISIG
    .union(Local::ICANON)
    .union(Local::ECHO)
    .union(Local::ECHOE)
    .union(Local::ECHOK)
    .union(Local::ECHOCTL)
    .union(Local::ECHOKE)
    .union(Local::IEXTEN);

fn with(change: impl FnOnce(&mut Termios)) -> Discipline {
    let mut d = Discipline::default();
    let mut settings = *d.settings();
    change(&mut settings);
    d.set(settings);
    d
}

fn cooked() -> Discipline {
    Discipline::default()
}

fn raw() -> Discipline {
    with(|t| {
        t.input = Input::empty();
        t.output = Output::empty();
        t.local = Local::empty();
    })
}

fn typed(d: &mut Discipline, bytes: &[u8]) -> Effects {
    let mut all = Effects::default();
    for byte in bytes {
        let effects = d.receive(*byte);
        all.signals |= effects.signals;
        all.flushed |= effects.flushed;
        all.flow |= effects.flow;
    }
    d.pass_echo();
    all
}

fn read(d: &mut Discipline, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    d.read(most, |byte| {
        bytes.push(byte);
        true
    });
    bytes
}

fn shown(d: &mut Discipline) -> Vec<u8> {
    let mut bytes = Vec::new();
    while d.waiting() > 0 {
        d.take(usize::MAX, |part| {
            bytes.extend_from_slice(part);
            part.len()
        });
    }
    bytes
}

#[test]
fn a_line_is_read_when_it_is_complete_and_one_at_a_time() {
    let mut d = cooked();
    typed(&mut d, b"one");
    assert!(!d.has_input(1));
    typed(&mut d, b"\rtwo\n");
    assert_eq!(d.readable(), 8);
    assert_eq!(read(&mut d, 100), b"one\n");
    assert_eq!(read(&mut d, 2), b"tw");
    assert_eq!(read(&mut d, 100), b"o\n");
    assert!(!d.has_input(1));
}

#[test]
fn a_character_a_word_and_a_line_are_erased_and_disappear() {
    for (keys, line, echo) in [
        (&b"ab\x7fc\n"[..], &b"ac\n"[..], &b"ab\x08 \x08c\r\n"[..]),
        (
            b"a bc \x17d\n",
            b"a d\n",
            b"a bc \x08 \x08\x08 \x08\x08 \x08d\r\n",
        ),
        (b"ab\x15c\n", b"c\n", b"ab\x08 \x08\x08 \x08c\r\n"),
        (b"\x7fa\n", b"a\n", b"a\r\n"),
        (b"\x01\x7fa\n", b"a\n", b"^A\x08 \x08\x08 \x08a\r\n"),
    ] {
        let mut d = cooked();
        typed(&mut d, keys);
        assert_eq!(read(&mut d, 100), line);
        assert_eq!(shown(&mut d), echo);
    }
}

#[test]
fn erasing_a_tab_goes_back_to_what_stands_before_it() {
    let mut d = cooked();
    d.write(b"$ ");
    typed(&mut d, b"a\t\x7f");
    assert_eq!(shown(&mut d), b"$ a\t\x08\x08\x08\x08\x08");
}

#[test]
fn a_character_of_several_bytes_is_erased_as_one_where_that_is_said() {
    let mut d = with(|t| t.input |= Input::IUTF8);
    typed(&mut d, "aä\u{7f}\n".as_bytes());
    assert_eq!(read(&mut d, 100), b"a\n");
    let mut d = cooked();
    typed(&mut d, "aä\u{7f}\n".as_bytes());
    assert_eq!(read(&mut d, 100), b"a\xc3\n");
}

#[test]
fn the_literal_next_character_is_no_key() {
    let mut d = cooked();
    let effects = typed(&mut d, b"\x16\x03\x16\x7f\n");
    assert_eq!(effects.signals, 0);
    assert_eq!(read(&mut d, 100), b"\x03\x7f\n");
    assert_eq!(shown(&mut d), b"^\x08^C^\x08^?\r\n");
}

#[test]
fn the_line_is_shown_again_when_that_is_asked_for() {
    let mut d = cooked();
    typed(&mut d, b"ab\x12");
    assert_eq!(shown(&mut d), b"ab^R\r\nab");
}

#[test]
fn the_end_of_input_ends_a_read_and_is_not_read() {
    let mut d = cooked();
    typed(&mut d, b"ab\x04\x04");
    assert_eq!(d.readable(), 2);
    assert_eq!(read(&mut d, 100), b"ab");
    assert!(d.has_input(1));
    assert_eq!(read(&mut d, 100), b"");
    assert!(!d.has_input(1));
    assert_eq!(shown(&mut d), b"ab", "it is not shown either");
}

#[test]
fn an_end_right_behind_the_last_byte_that_is_wanted_goes_with_it() {
    let mut d = cooked();
    typed(&mut d, b"ab\x04c\n");
    assert_eq!(read(&mut d, 2), b"ab");
    assert_eq!(read(&mut d, 2), b"c\n");
}

#[test]
fn further_characters_end_lines_where_they_are_set() {
    let mut d = with(|t| (t.cc[cc::EOL], t.cc[cc::EOL2]) = (b'#', b'%'));
    typed(&mut d, b"a#b%");
    assert_eq!(read(&mut d, 100), b"a#");
    assert_eq!(read(&mut d, 100), b"b%");
}

#[test]
fn a_line_that_is_too_long_keeps_its_start_and_its_end() {
    let mut d = cooked();
    typed(&mut d, &[b'x'; 5000]);
    assert!(d.has_room());
    typed(&mut d, b"\n");
    let line = read(&mut d, 10_000);
    assert_eq!((line.len(), line.last()), (INPUT_BYTES, Some(&b'\n')));
}

#[test]
fn raw_input_is_bounded_and_what_is_not_taken_waits() {
    let mut d = raw();
    let mut n = 0;
    while d.has_room() {
        d.receive(b'x');
        n += 1;
    }
    assert_eq!(n, INPUT_BYTES - 1);
    assert_eq!(read(&mut d, 1), b"x");
    assert!(d.has_room());
}

#[test]
fn what_was_begun_is_readable_in_raw_mode_and_a_line_of_its_own_afterwards() {
    let mut d = cooked();
    typed(&mut d, b"ab");
    let mut settings = *d.settings();
    settings.local -= Local::ICANON;
    d.set(settings);
    assert!(d.has_input(2) && !d.has_input(3));
    typed(&mut d, b"\nc");
    settings.local |= Local::ICANON;
    d.set(settings);
    typed(&mut d, b"d\n");
    assert_eq!(read(&mut d, 100), b"ab\nc");
    assert_eq!(read(&mut d, 100), b"d\n");
}

#[test]
fn keys_send_signals_and_throw_away_what_was_typed_unless_that_is_kept() {
    for (key, signal) in [(3, SIGINT), (28, SIGQUIT), (26, SIGTSTP)] {
        let mut d = cooked();
        typed(&mut d, b"line\npart");
        let effects = typed(&mut d, &[key]);
        assert_eq!((effects.signals, effects.flushed), (bit(signal), true));
        assert_eq!(d.readable(), 0);
        let mut d = with(|t| t.local |= Local::NOFLSH);
        typed(&mut d, b"line\n");
        assert!(!typed(&mut d, &[key]).flushed);
        assert_eq!(read(&mut d, 100), b"line\n");
    }
    let mut d = with(|t| t.local -= Local::ISIG);
    assert_eq!(typed(&mut d, b"\x03\n").signals, 0);
    assert_eq!(read(&mut d, 100), b"\x03\n");
}

#[test]
fn output_and_echo_are_held_until_they_are_let_go() {
    let mut d = cooked();
    assert!(typed(&mut d, b"\x13").flow);
    typed(&mut d, b"a");
    assert_eq!((d.room(), d.waiting()), (0, 0));
    typed(&mut d, b"\x11");
    assert_eq!(shown(&mut d), b"a");
    assert!(d.room() > 0);
    let mut d = with(|t| t.input |= Input::IXANY);
    typed(&mut d, b"\x13b");
    assert_eq!(shown(&mut d), b"b");
    let mut d = with(|t| t.input -= Input::IXON);
    typed(&mut d, b"\x13");
    assert!(d.room() > 0);
}

#[test]
fn typed_bytes_are_changed_as_the_input_flags_say() {
    for (flags, keys, right) in [
        (Input::empty(), &b"a\r\n"[..], &b"a\r\n"[..]),
        (Input::ICRNL, b"a\r", b"a\n"),
        (Input::INLCR, b"a\n", b"a\r"),
        (Input::IGNCR | Input::ICRNL, b"a\rb", b"ab"),
        (Input::ISTRIP, b"\xe1", b"a"),
        (Input::IUCLC, b"aB", b"ab"),
        (Input::PARMRK, b"\xff", b"\xff\xff"),
    ] {
        let mut d = raw();
        let mut settings = *d.settings();
        settings.input = flags;
        settings.local = Local::IEXTEN;
        d.set(settings);
        typed(&mut d, keys);
        assert_eq!(read(&mut d, 100), right, "{flags:?}");
    }
}

#[test]
fn written_bytes_are_changed_as_the_output_flags_say() {
    for (flags, right) in [
        (Output::empty(), "\ra\tb\n\tc\r"),
        (Output::ONLCR, "\ra\tb\r\n\tc\r"),
        (Output::OCRNL, "\na\tb\n\tc\n"),
        (Output::ONOCR, "a\tb\n\tc\r"),
        (Output::OLCUC, "\rA\tB\n\tC\r"),
        (Output::XTABS, "\ra       b\n       c\r"),
    ] {
        let mut d = raw();
        let mut settings = *d.settings();
        settings.output = flags | Output::OPOST;
        d.set(settings);
        d.write(b"\ra\tb\n\tc\r");
        let said = String::from_utf8(shown(&mut d)).unwrap();
        assert_eq!(said, right, "{flags:?}");
    }
}

#[test]
fn echo_is_as_the_local_flags_say() {
    let lines = Local::ICANON;
    for (flags, keys, right) in [
        (lines, &b"a\n"[..], &b""[..]),
        (lines | Local::ECHONL, b"a\n", b"\r\n"),
        (lines | Local::ECHO, b"a\x7f", b"a\x7f"),
        (lines | Local::ECHO | Local::ECHOE, b"a\x15", b"a\x15"),
        (lines | Local::ECHO | Local::ECHOK, b"a\x15", b"a\x15\r\n"),
        (lines | Local::ECHO | Local::ECHOPRT, b"ab\x7fc", b"ab\\b/c"),
        (COOKED, b"\x01\t", b"^A\t"),
        (Local::ECHO | Local::ECHOCTL, b"\n\r", b"^J\r\n"),
        (COOKED, b"ab\x03", b"^C"),
    ] {
        let mut d = with(|t| t.local = flags);
        typed(&mut d, keys);
        assert_eq!(shown(&mut d), right, "{flags:?}");
    }
}

#[test]
fn what_is_written_never_exceeds_the_room_that_was_told() {
    let mut d = cooked();
    while d.room() > 0 {
        let n = d.room();
        d.write(&alloc::vec![b'\n'; n]);
        assert!(d.waiting() <= OUTPUT_BYTES);
    }
    typed(&mut d, b"echo");
    assert!(d.waiting() <= OUTPUT_BYTES);
}
