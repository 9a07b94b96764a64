//! Settings that do not go together, though each is right by itself.

use super::{Board, Config, Firmware, MICROVM_CORES, MICROVM_DEVICES};
use crate::net::Net;

/// What does not go together, and what to do about it.
pub(super) fn of(config: &Config) -> Vec<String> {
    let mut errors = Vec::new();
    if !config.forwards.is_empty() && !config.nets.contains(&Net::User) {
        let otherwise = match config.nets.is_empty() {
            true => "with EBB_NET=none the image has no network",
            false => "with a tap device the image is reached at its own address",
        };
        errors.push(format!(
            "EBB_FORWARD needs EBB_NET=user (the default): {otherwise}"
        ));
    }
    if config.machine == Board::Microvm {
        if config.firmware == Some(Firmware::SeaBios) {
            errors.push(
                "EBB_FIRMWARE=seabios needs EBB_MACHINE=q35 or pc: a microvm has qboot".into(),
            );
        }
        let devices = config.disks.len()
            + config.nets.len()
            + usize::from(config.rng)
            + usize::from(!config.channels.is_empty())
            + usize::from(config.vsock.is_some());
        if config.cores > MICROVM_CORES {
            errors.push(format!(
                "EBB_MACHINE=microvm has room for {MICROVM_CORES} cores; EBB_CORES is {}",
                config.cores
            ));
        }
        if devices > MICROVM_DEVICES {
            errors.push(format!(
                "EBB_MACHINE=microvm has room for {MICROVM_DEVICES} devices; with network (EBB_NET) and entropy (EBB_RNG) \
                 these are {devices}"
            ));
        }
        let has_several = |net: &Net| matches!(net, Net::Tap(tap) if tap.queues > 1);
        if config.nets.iter().any(has_several) {
            errors.push(
                "EBB_NET with several queues needs EBB_MACHINE=q35 or pc: a device of a microvm has one interrupt"
                    .into(),
            );
        }
    }
    errors
}
