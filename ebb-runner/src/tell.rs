//! Lines on the standard error.

/// Prints a line as `eprintln!` does. A reader that has gone is no error, and ends no machine: `cargo run 2>&1 | head`.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub(crate) use tell;
