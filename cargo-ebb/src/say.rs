//! Lines on the standard output.

/// Prints a line as `println!` does. A reader that has gone is no error: `cargo ebb doctor | head`.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

pub(crate) use say;
