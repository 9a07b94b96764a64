//! The bus, physical addresses, vectors.

use alloc::boxed::Box;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use ebb::{
    EbbRef, cores,
    platform::{Environment, Hardware},
    time,
};

#[ebb::test]
fn the_bus_has_a_host_bridge_and_every_function_answers() {
    let hardware = EbbRef::<dyn Hardware>::get();
    let functions = hardware.pci_functions();
    assert!(
        functions.iter().any(|f| f.class >> 16 == 0x0600),
        "{functions:?}"
    );
    for f in functions {
        let id = hardware.pci_read(f.address, 0);
        assert_eq!((id as u16, (id >> 16) as u16), (f.vendor, f.device));
    }
}

#[ebb::test]
fn every_memory_bar_of_a_network_card_has_an_address() {
    let hardware = EbbRef::<dyn Hardware>::get();
    for f in hardware
        .pci_functions()
        .iter()
        .filter(|f| f.vendor == 0x1af4)
    {
        let mut register = 0x10;
        while register < 0x28 {
            let bar = hardware.pci_read(f.address, register);
            let wide = bar & 7 == 4;
            if wide {
                let high = hardware.pci_read(f.address, register + 4);
                let base = u64::from(bar & !15) | u64::from(high) << 32;
                assert_ne!(base, 0, "{f:?}, register {register:#x}");
                assert!(hardware.map_device(base, 4096).is_some());
            }
            register += if wide { 8 } else { 4 };
        }
    }
}

#[ebb::test]
fn memory_is_not_mapped_as_a_device() {
    let hardware = EbbRef::<dyn Hardware>::get();
    let heap = Box::new(5u64);
    let physical = hardware.physical_address((&raw const *heap).cast());
    assert!(hardware.map_device(physical & !4095, 4096).is_none());
}

#[ebb::test]
fn physical_addresses_lead_back() {
    static WORD: u64 = 0xdeed;
    let hardware = EbbRef::<dyn Hardware>::get();
    let heap = Box::new(0x5eed_u64);
    for word in [&raw const *heap, &raw const WORD] {
        let physical = hardware.physical_address(word.cast());
        let linear = hardware.virtual_address(physical).cast::<u64>();
        // SAFETY: both are addresses of a word that lives.
        let (there, here) = unsafe { (linear.read(), word.read()) };
        assert_eq!(there, here);
    }
}

/// QEMU's `edu` device (docs/specs/edu.rst) sends a message when its register 0x60 is written.
#[ebb::test]
async fn a_message_interrupt_wakes_the_core_it_was_bound_to() {
    static CAME: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];
    let hardware = EbbRef::<dyn Hardware>::get();
    let edu = hardware
        .pci_functions()
        .iter()
        .find(|f| (f.vendor, f.device) == (0x1234, 0x11e8));
    let at = edu.expect("the test's machine has -device edu").address;
    let bar = u64::from(hardware.pci_read(at, 0x10) & !15);
    let registers = hardware
        .map_device(bar, 4096)
        .expect("its registers can be mapped")
        .cast::<u32>();
    // Memory decoding and bus mastering on; then its MSI capability.
    hardware.pci_write(at, 4, hardware.pci_read(at, 4) & 0xffff | 6);
    let mut capability = hardware.pci_read(at, 0x34) as u16 & 0xfc;
    while hardware.pci_read(at, capability) & 0xff != 5 {
        capability = (hardware.pci_read(at, capability) >> 8) as u16 & 0xfc;
        assert_ne!(capability, 0, "edu has an MSI capability");
    }
    for core in cores() {
        let n = core.number();
        let handler = |n: usize| {
            CAME[n].fetch_add(1, Ordering::Relaxed);
            assert_eq!(ebb::current_core().number(), n);
        };
        let message = hardware
            .bind_interrupt(core, handler, n)
            .expect("a free vector");
        let control = hardware.pci_read(at, capability);
        let wide = control & 1 << 23 != 0;
        hardware.pci_write(at, capability + 4, message.address as u32);
        if wide {
            hardware.pci_write(at, capability + 8, (message.address >> 32) as u32);
        }
        hardware.pci_write(at, capability + if wide { 12 } else { 8 }, message.data);
        hardware.pci_write(at, capability, control & !(7 << 20) | 1 << 16);
        for round in 1..=3 {
            // SAFETY: the device's registers, mapped: 0x60 raises, 0x64 acknowledges.
            unsafe { registers.byte_add(0x60).write_volatile(1) };
            let mut patience = 2000;
            while CAME[n].load(Ordering::Relaxed) < round && patience > 0 {
                time::sleep(Duration::from_millis(1)).await;
                patience -= 1;
            }
            // SAFETY: as above.
            unsafe { registers.byte_add(0x64).write_volatile(1) };
            assert_eq!(CAME[n].load(Ordering::Relaxed), round, "{core:?}");
        }
    }
}

#[ebb::test]
fn the_last_core_gives_each_interrupt_its_own_vector_and_says_when_there_are_no_more() {
    let hardware = EbbRef::<dyn Hardware>::get();
    let core = cores().last().unwrap();
    let mut seen = alloc::vec::Vec::new();
    while let Some(message) = hardware.bind_interrupt(core, |_| (), 0) {
        assert_eq!(message.address >> 20, 0xfee);
        assert!(!seen.contains(&message.data), "{message:?} twice");
        seen.push(message.data);
        assert!(seen.len() <= 256);
    }
    assert!(seen.len() > 100, "only {} vectors", seen.len());
}

ebb::option!("colour", "red or blue", |v| matches!(v, "red" | "blue"));
ebb::option!("shape", "anything", |_| true);

#[ebb::test]
fn a_declared_option_on_the_command_line_is_seen() {
    let environment = EbbRef::<dyn Environment>::get();
    assert_eq!(environment.option("colour"), Some("blue"));
    assert_eq!(environment.option("shape"), None);
}
