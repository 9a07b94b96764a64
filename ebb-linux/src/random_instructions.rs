//! RDRAND and RDSEED for programs, on a machine that has neither: whose programs are copied is so, because the processor would not tell who
//! draws by them.
//!
//! A program sees by CPUID that they are missing and asks the kernel; one that was compiled for a processor that has them traps, and is
//! given what the kernel draws. Either way it is counted (`Uc::draws`).
//! Source: Intel SDM volume 2, "RDRAND", "RDSEED".

use crate::uc::caller::Caller;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use ebb_guest::Context;

/// CF, PF, AF, ZF, SF and OF: the first says that there was a number, the others are cleared.
const FLAGS: u64 = 0x8d5;
const CARRY: u64 = 1;

/// The longest: a prefix for the size of the operand, REX, two bytes of opcode, and ModRM.
const LONGEST: usize = 5;

/// What an instruction asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Draw {
    /// Number of the register.
    register: u8,
    /// Bytes: 2, 4 or 8.
    size: u8,
    length: u8,
}

/// Whether programs can draw random numbers that [`Uc::draws`](crate::Uc::draws) does not count: on a processor that has instructions for it.
pub fn are_unseen() -> bool {
    const RDRAND: u32 = 1 << 30;
    const RDSEED: u32 = 1 << 18;
    let has_seed = || __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & RDSEED != 0;
    __cpuid(1).ecx & RDRAND != 0 || has_seed()
}

fn decode(code: &[u8]) -> Option<Draw> {
    let (is_short, rest) = match code {
        [0x66, rest @ ..] => (true, rest),
        _ => (false, code),
    };
    let (rex, rest) = match rest {
        [rex @ 0x40..=0x4f, rest @ ..] => (*rex, rest),
        _ => (0, rest),
    };
    let [0x0f, 0xc7, mod_rm @ 0xf0..=0xff, ..] = rest else {
        return None;
    };
    let size = match (rex & 8 != 0, is_short) {
        (true, _) => 8,
        (false, true) => 2,
        (false, false) => 4,
    };
    Some(Draw {
        register: mod_rm & 7 | (rex & 1) << 3,
        size,
        length: (code.len() - rest.len() + 3) as u8,
    })
}

fn register(context: &mut Context, number: u8) -> &mut u64 {
    match number {
        0 => &mut context.rax,
        1 => &mut context.rcx,
        2 => &mut context.rdx,
        3 => &mut context.rbx,
        4 => &mut context.rsp,
        5 => &mut context.rbp,
        6 => &mut context.rsi,
        7 => &mut context.rdi,
        8 => &mut context.r8,
        9 => &mut context.r9,
        10 => &mut context.r10,
        11 => &mut context.r11,
        12 => &mut context.r12,
        13 => &mut context.r13,
        14 => &mut context.r14,
        _ => &mut context.r15,
    }
}

/// Carries out the instruction that the thread has stopped at, if it is one of these; `false` if not.
pub fn carry_out(caller: &Caller<'_>) -> bool {
    let Some(at) = caller.with_thread(|thread| thread.context.rip) else {
        return false;
    };
    let mut code = [0; LONGEST];
    let there = caller.space().read_part(at, &mut code);
    let Some(draw) = decode(&code[..there]) else {
        return false;
    };
    let mut drawn = [0; 8];
    caller.uc.draw(&mut drawn[..draw.size.into()], true);
    caller.with_thread(|thread| {
        let context = &mut thread.context;
        context.settle();
        let kept = if draw.size == 2 { !0xffff } else { 0 };
        let to = register(context, draw.register);
        *to = *to & kept | u64::from_le_bytes(drawn);
        context.rflags = context.rflags & !FLAGS | CARRY;
        context.rip = at + u64::from(draw.length);
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_draw_are_known_by_their_bytes() {
        // As GNU as writes them.
        let draws: [(&[u8], u8, u8); 8] = [
            (&[0x0f, 0xc7, 0xf0], 0, 4),
            (&[0x0f, 0xc7, 0xfa], 2, 4),
            (&[0x66, 0x0f, 0xc7, 0xf1], 1, 2),
            (&[0x48, 0x0f, 0xc7, 0xf3], 3, 8),
            (&[0x49, 0x0f, 0xc7, 0xff], 15, 8),
            (&[0x41, 0x0f, 0xc7, 0xf3], 11, 4),
            (&[0x66, 0x41, 0x0f, 0xc7, 0xf0], 8, 2),
            (&[0x48, 0x0f, 0xc7, 0xfc], 4, 8),
        ];
        for (code, register, size) in draws {
            let length = code.len() as u8;
            let draw = Draw {
                register,
                size,
                length,
            };
            assert_eq!(decode(code), Some(draw), "{code:x?}");
            // What follows is not looked at, and what is cut off is none.
            assert_eq!(decode(&[code, &[0x90]].concat()), Some(draw));
            assert_eq!(decode(&code[..code.len() - 1]), None);
        }
        let others: [&[u8]; 6] = [
            // UD2, CMPXCHG8B (%rax), RDPID, XSAVEC, nothing, and a prefix alone.
            &[0x0f, 0x0b],
            &[0x0f, 0xc7, 0x08],
            &[0xf3, 0x0f, 0xc7, 0xf8],
            &[0x0f, 0xc7, 0x20],
            &[],
            &[0x66],
        ];
        for code in others {
            assert_eq!(decode(code), None, "{code:x?}");
        }
    }
}
