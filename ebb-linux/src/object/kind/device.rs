//! Character devices without state: null, zero, full, random, urandom, and those that open terminals.

use super::{Face, Kind};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::QueueId,
    io::{Sink, Source, fill_zero},
    wait::Hub,
};
use borsh::{BorshDeserialize, BorshSerialize};

/// The most bytes of randomness that one read gives; a short read is allowed, and bounds the
/// time that one system call can take.
const RANDOM_CHUNK: usize = 1 << 16;
/// The same for zeroes.
const ZERO_CHUNK: usize = 1 << 24;

/// A device by its role; numbers are Linux'.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Swallows everything, gives nothing.
    Null,
    /// Gives zeroes.
    Zero,
    /// Gives zeroes, is always full.
    Full,
    /// Gives randomness, and can be waited for.
    Random,
    /// Gives randomness.
    Urandom,
    /// The terminal that controls the caller's session: opening it opens that.
    Tty,
    /// The machine's console.
    Console,
    /// Opening it makes a pseudo-terminal.
    Ptmx,
    /// The slave of the pseudo-terminal of this number.
    Pts(u32),
}

/// A device number from its parts, as `makedev` does.
pub const fn device_number(major: u64, minor: u64) -> u64 {
    (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | minor & 0xff
}

/// The device number of the slave of a pseudo-terminal: 256 of them for each major number from 136 on.
pub const fn pts_number(number: u32) -> u64 {
    device_number(136, number as u64)
}

impl Device {
    /// The device that a character special file of this number opens.
    pub(crate) fn from_number(number: u64) -> Option<Device> {
        const NULL: u64 = device_number(1, 3);
        const ZERO: u64 = device_number(1, 5);
        const FULL: u64 = device_number(1, 7);
        const RANDOM: u64 = device_number(1, 8);
        const URANDOM: u64 = device_number(1, 9);
        const TTY: u64 = device_number(5, 0);
        const CONSOLE: u64 = device_number(5, 1);
        const PTMX: u64 = device_number(5, 2);
        Some(match number {
            NULL => Device::Null,
            ZERO => Device::Zero,
            FULL => Device::Full,
            RANDOM => Device::Random,
            URANDOM => Device::Urandom,
            TTY => Device::Tty,
            CONSOLE => Device::Console,
            PTMX => Device::Ptmx,
            other => {
                let minor = other & 0xff | other >> 12 & 0xf_ff00;
                return (other == pts_number(minor as u32)).then_some(Device::Pts(minor as u32));
            }
        })
    }
}

impl Kind for Device {
    const FACE: Face = Face::Anonymous("[device]");
    const POSITIONED: bool = true;

    fn read(
        &mut self,
        _: &mut Hub,
        env: &dyn Env,
        _: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        match self {
            Device::Null => Ok(0),
            Device::Zero | Device::Full => fill_zero(sink, ZERO_CHUNK),
            Device::Random | Device::Urandom => {
                let mut done = 0;
                let mut block = [0; 256];
                while done < RANDOM_CHUNK && sink.remaining() > 0 {
                    let want = sink.remaining().min(block.len());
                    env.draw(&mut block[..want]);
                    let n = sink.put(&block[..want]);
                    done += n;
                    if n < want {
                        break;
                    }
                }
                if done == 0 && sink.remaining() > 0 {
                    Err(Errno::EFAULT)
                } else {
                    Ok(done)
                }
            }
            Device::Tty | Device::Console | Device::Ptmx | Device::Pts(_) => Err(Errno::EIO),
        }
    }

    fn write(
        &mut self,
        _: &mut Hub,
        _: &dyn Env,
        _: OpenFlags,
        source: &mut dyn Source,
    ) -> Result<usize> {
        match self {
            // Not even looked at, so a bad pointer is no error: as in Linux.
            Device::Null | Device::Zero => Ok(source.remaining()),
            Device::Full => Err(Errno::ENOSPC),
            Device::Random | Device::Urandom => {
                let mut done = 0;
                let mut block = [0; 256];
                while source.remaining() > 0 && done < RANDOM_CHUNK {
                    match source.take(&mut block) {
                        0 if done == 0 => return Err(Errno::EFAULT),
                        0 => break,
                        n => done += n,
                    }
                }
                Ok(done)
            }
            Device::Tty | Device::Console | Device::Ptmx | Device::Pts(_) => Err(Errno::EIO),
        }
    }

    /// Linux lets epoll watch `random`, not urandom, null, zero and full.
    fn queue(&self, hub: &Hub) -> Option<QueueId> {
        matches!(self, Device::Random).then_some(hub.idle)
    }
}
