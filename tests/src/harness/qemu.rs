//! Machines: QEMU without KVM, so that every host boots them alike.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use super::lab::{Lab, Port};
use super::process::{Console, Process};
use super::qmp;
use super::tool::require;

const OVMF: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
const OVMF_SECURE: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"];

/// What a machine's firmware is, and with it who speaks PXE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS; the NIC's iPXE ROM boots.
    Bios,
    /// OVMF; its own PXE client boots, the NIC has no ROM.
    Uefi,
    /// The same with IPv6 alone.
    Uefi6,
    /// OVMF without PXE; its HTTP boot is left.
    UefiHttp,
    /// OVMF with Secure Boot on and Microsoft's keys; its own PXE client boots.
    SecureBoot,
}

impl Firmware {
    /// Families that its PXE client leaves alone; HTTP boot still tries both.
    const fn without_pxe(self) -> &'static [&'static str] {
        match self {
            Self::Uefi6 => &["IPv4"],
            Self::UefiHttp => &["IPv4", "IPv6"],
            Self::Bios | Self::Uefi | Self::SecureBoot => &[],
        }
    }

    const fn is_uefi(self) -> bool {
        !matches!(self, Self::Bios)
    }
}

/// Model of a machine's NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Nic {
    /// Paravirtual; Debian's cloud kernel has its driver.
    Virtio,
    /// Intel 82574L; Debian's generic kernel has its driver.
    E1000e,
}

impl Nic {
    fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::E1000e => "e1000e",
        }
    }
}

/// A machine to be switched on.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// Firmware.
    pub firmware: Firmware,
    /// NIC.
    pub nic: Nic,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// What the machine's clock shows at power-on, as `-rtc base=` takes it; `None` means the right time.
    pub clock: Option<String>,
    /// Serial number in its firmware's tables.
    pub serial: Option<String>,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self { firmware: Firmware::Bios, nic: Nic::Virtio, memory_mib: 2048, clock: None, serial: None }
    }
}

/// A machine that is on. Dropping it pulls its plug.
#[derive(Debug)]
pub struct Machine {
    process: Process,
    qmp: PathBuf,
    /// When it was switched on.
    pub powered_on: Instant,
}

impl MachineSpec {
    /// Small, so that several fit beside each other.
    pub fn small() -> Self {
        Self { memory_mib: 1024, ..Self::default() }
    }
}

impl Machine {
    /// Switches a machine on at this port.
    pub fn power_on(lab: &Lab, port: &Port, spec: &MachineSpec) -> Result<Self> {
        require(&["qemu-system-x86_64"])?;
        let qmp = lab.sockets().join(format!("{}.qmp", port.name));
        let mut command = port.namespace.command("qemu-system-x86_64");
        // The emulator's own processor: it has neither AES nor wide vectors, which programs would choose and emulation makes slow.
        // Only code in system management mode may change the variables of Secure Boot.
        let secure = spec.firmware == Firmware::SecureBoot;
        command.args([
            "-machine",
            if secure { "q35,graphics=off,smm=on" } else { "q35,graphics=off" },
            "-accel",
            "tcg",
            "-cpu",
            "qemu64",
            "-smp",
            "1",
            "-nodefaults",
        ]);
        command.args(["-display", "none", "-serial", "stdio", "-boot", "n", "-device", "virtio-rng-pci"]);
        command.args(["-m", &spec.memory_mib.to_string(), "-name", &port.name]);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", qmp.display()));
        command.args(["-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no"]);
        let mut device = format!("{},netdev=net0,mac={}", spec.nic.device(), port.mac());
        if spec.firmware.is_uefi() {
            device.push_str(",romfile=");
            for argument in ovmf(if secure { OVMF_SECURE } else { OVMF }, lab.work(), &port.name)? {
                command.args(["-drive", &argument]);
            }
        }
        if secure {
            command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        for family in spec.firmware.without_pxe() {
            command.args(["-fw_cfg", &format!("name=opt/org.tianocore/{family}PXESupport,string=n")]);
        }
        command.args(["-device", &device]);
        if let Some(clock) = &spec.clock {
            command.args(["-rtc", &format!("base={clock}")]);
        }
        if let Some(serial) = &spec.serial {
            command.args(["-smbios", &format!("type=1,manufacturer=Emulated,product=Lab,serial={serial}")]);
        }
        let powered_on = Instant::now();
        let process = Process::start(&port.name, command, &lab.logs().join(format!("{}.serial", port.name)))?;
        Ok(Self { process, qmp, powered_on })
    }

    /// Its serial console.
    pub fn console(&self) -> &Console {
        self.process.console()
    }

    /// Types on its serial console.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.process.type_text(text)
    }

    /// Pulls the plug.
    pub fn power_off(&self) -> Result<()> {
        self.process.kill()
    }

    /// Presses reset.
    pub fn reset(&self) -> Result<()> {
        qmp::execute(&self.qmp, "system_reset", json!({}))
    }

    /// Presses these keys of its keyboard together; their names are QEMU's, such as `alt`, `sysrq`, `i`.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        let keys: Vec<_> = keys.iter().map(|key| json!({ "type": "qcode", "data": key })).collect();
        qmp::execute(&self.qmp, "send-key", json!({ "keys": keys }))
    }

    /// Whether it is still on: a guest that powers itself off ends it.
    pub fn is_on(&self) -> bool {
        self.process.status().is_none()
    }

    /// Waits until the guest switched itself off.
    pub fn wait_off(&self, timeout: Duration) -> Result<()> {
        self.process.wait_success(timeout)
    }
}

/// The firmware's code, and its variables in a copy of the machine's own.
fn ovmf([code, variables]: [&str; 2], work: &Path, name: &str) -> Result<[String; 2]> {
    let vars = work.join(format!("{name}.vars"));
    std::fs::copy(variables, &vars).with_context(|| format!("copy {variables} (Debian's package ovmf)"))?;
    Ok([
        format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"),
        format!("if=pflash,format=raw,unit=1,file={}", vars.display()),
    ])
}
