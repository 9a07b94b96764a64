//! What a program prints, each message written whole, and what it tells of its run.

use core::fmt;

use crate::{EbbRef, platform::Console};

/// Collects one message, so that it is written whole.
#[doc(hidden)]
pub fn print(arguments: fmt::Arguments<'_>, newline: bool) {
    let console = EbbRef::<dyn Console>::get();
    match (arguments.as_str(), newline) {
        (Some(text), false) => console.write(text.as_bytes()),
        _ => {
            let mut text = alloc::fmt::format(arguments);
            if newline {
                text.push('\n');
            }
            console.write(text.as_bytes());
        }
    }
}

/// What [`inform!`](crate::inform!) is made of.
#[doc(hidden)]
pub fn inform(arguments: fmt::Arguments<'_>) {
    EbbRef::<dyn Console>::get().inform(&alloc::fmt::format(arguments));
}

/// Says a line about the run to whoever started the program, apart from what it prints; a quiet run (`EBB_QUIET=1`) is without.
#[macro_export]
macro_rules! inform {
    ($($arguments:tt)*) => {
        $crate::__private::inform(::core::format_args!($($arguments)*))
    };
}

/// Prints to the console. Messages of several cores do not mix.
#[macro_export]
macro_rules! print {
    ($($arguments:tt)*) => {
        $crate::__private::print(::core::format_args!($($arguments)*), false)
    };
}

/// Prints a line to the console. Lines of several cores do not mix.
#[macro_export]
macro_rules! println {
    () => { $crate::__private::print(::core::format_args!(""), true) };
    ($($arguments:tt)*) => {
        $crate::__private::print(::core::format_args!($($arguments)*), true)
    };
}
