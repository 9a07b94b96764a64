//! An image that goes wrong in the way that its first argument names. `tests/faults.rs` boots it and
//! reads what it says.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{boxed::Box, vec::Vec};
use core::{arch::asm, hint::black_box, ptr};

use ebb::{
    CoreId, EbbRef, core_count,
    platform::{Clock, Console},
    println, spawn_on, time,
};

ebb::option!("taste", "sweet or sour", |v| matches!(v, "sweet" | "sour"));
// Its check allocates.
ebb::option!("numbers", "numbers, joined by commas", |v| v
    .split(',')
    .map(|number| number.parse().ok())
    .collect::<Option<Vec<u64>>>()
    .is_some());

#[ebb::main]
async fn main() -> u8 {
    let mut arguments = ebb::args().iter().copied();
    let fault = arguments.next().unwrap_or("none");
    match fault {
        "none" => println!("{} cores", core_count()),
        "status" => return arguments.next().and_then(|n| n.parse().ok()).unwrap_or(0),
        "arguments" => arguments.for_each(|a| println!("<{a}>")),
        "panic" => outer(),
        "panic-on-core-1" => {
            let _ = spawn_on(CoreId::new(1), async || outer()).await;
        }
        "null-read" => println!("{}", null_read()),
        "null-call" => null_call(),
        "wild-read" => {
            // SAFETY: none; that is the test.
            let value = unsafe { black_box(0xffff_9000_0000_0000 as *const u64).read_volatile() };
            println!("{value}");
        }
        "write-text" => {
            // SAFETY: none; that is the test.
            unsafe { (outer as fn() as *mut u8).write_volatile(0xc3) };
            println!("text can be written");
        }
        "write-text-by-linear-map" => {
            let physical = outer as fn() as usize - 0xffff_ffff_8000_0000;
            // SAFETY: none; that is the test.
            unsafe { ((0xffff_8000_0000_0000 + physical) as *mut u8).write_volatile(0xc3) };
            println!("text can be written");
        }
        "write-rodata" => {
            static CONSTANT: [u8; 4] = [1, 2, 3, 4];
            // SAFETY: none; that is the test.
            unsafe { black_box(CONSTANT.as_ptr().cast_mut()).write_volatile(9) };
            println!("constants can be written");
        }
        "execute-heap" => {
            let code = Box::leak(Box::new([0xc3u8; 16]));
            // SAFETY: none; that is the test.
            let code: extern "C" fn() = unsafe { core::mem::transmute(code.as_ptr()) };
            black_box(code)();
            println!("data can be executed");
        }
        "user-memory" => {
            // SAFETY: none; that is the test.
            let value = unsafe { black_box(0x40_0000 as *const u64).read_volatile() };
            println!("{value}");
        }
        "stack-overflow" => println!("{}", endless(black_box(1))),
        "stack-overflow-on-core-1" => {
            let _ = spawn_on(CoreId::new(1), async || {
                println!("{}", endless(black_box(1)))
            })
            .await;
        }
        "double-fault" => double_fault(),
        "invalid-opcode" => {
            // SAFETY: none; that is the test.
            unsafe { asm!("ud2") };
        }
        "divide" => {
            // SAFETY: none; that is the test.
            unsafe { asm!("xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _) };
        }
        "memory-size" => println!("{}", ebb_mem::frame::stats().total >> 8),
        "time" => println!("{}", EbbRef::<dyn Clock>::get().unix_time_ns() / 1_000_000),
        "echo" => echo().await,
        "memory-politely" => return politely(),
        "memory" => {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                all.push(alloc::vec![1u8; 1 << 20]);
            }
        }
        "hang" => {
            if core_count() > 1 {
                let other = CoreId::new(1);
                drop(spawn_on(other, async || spins_for_ever()));
                time::sleep(core::time::Duration::from_millis(50)).await;
            }
            spins_for_ever();
        }
        "wait-for-ever" => core::future::pending().await,
        "panic-while-others-print" => {
            for core in ebb::cores().skip(1) {
                drop(spawn_on(core, async || {
                    loop {
                        println!(
                            "a line that takes a while to print, so that the panic comes into it"
                        );
                    }
                }));
            }
            time::sleep(core::time::Duration::from_millis(30)).await;
            outer();
        }
        "panic-in-all" => {
            for core in ebb::cores() {
                drop(spawn_on(core, async || outer()));
            }
            core::future::pending::<()>().await;
        }
        other => println!("no fault is called {other}"),
    }
    0
}

/// Prints one line of input.
async fn echo() {
    let console = EbbRef::<dyn Console>::get();
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut buffer = [0; 7];
        let n = console.read(&mut buffer);
        line.extend_from_slice(&buffer[..n]);
        if n == 0 {
            time::sleep(core::time::Duration::from_millis(1)).await;
        }
    }
    println!(
        "<{}>",
        alloc::string::String::from_utf8_lossy(&line).trim_end()
    );
}

#[inline(never)]
fn outer() {
    inner(black_box(41));
}

#[inline(never)]
fn inner(n: u32) {
    assert!(black_box(n) > 41, "{n} is not above 41");
}

#[inline(never)]
fn null_read() -> u64 {
    // SAFETY: none; that is the test.
    unsafe { black_box(ptr::null::<u64>()).read_volatile() }
}

#[inline(never)]
fn null_call() {
    let nothing: Option<extern "C" fn()> = black_box(None);
    // SAFETY: none; that is the test.
    let call: extern "C" fn() = unsafe { core::mem::transmute(nothing) };
    call();
    println!("called nothing");
}

#[inline(never)]
fn endless(n: u64) -> u64 {
    let room = black_box([n; 64]);
    if n == 0 {
        0
    } else {
        endless(n + 1) + room[(n % 64) as usize]
    }
}

/// An interrupt table that ends before the general protection fault: raising one cannot be
/// delivered, which is a double fault.
#[inline(never)]
fn double_fault() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let mut table = Pointer { limit: 0, base: 0 };
    // SAFETY: none; that is the test.
    unsafe {
        asm!("sidt [{}]", in(reg) &raw mut table);
        table.limit = 9 * 16 - 1;
        asm!("lidt [{}]", in(reg) &raw const table);
        asm!("mov ax, 0x7f8", "mov ds, ax", out("ax") _);
    }
}

/// Takes all memory, gets an error for it, gives it back, and can go on.
fn politely() -> u8 {
    let mut all: Vec<Vec<u8>> = Vec::with_capacity(1 << 16);
    loop {
        let mut piece = Vec::<u8>::new();
        if let Err(error) = piece.try_reserve_exact(1 << 20) {
            let taken = all.len();
            drop(all);
            println!("after {taken} MiB: {error}");
            break;
        }
        all.push(piece);
    }
    let again = alloc::vec![7u8; 8 << 20];
    println!("and again {} MiB", again.len() >> 20);
    0
}

#[inline(never)]
fn spins_for_ever() {
    loop {
        black_box(0);
    }
}
