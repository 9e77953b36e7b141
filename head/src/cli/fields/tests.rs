use clap::{Args as _, Command, FromArgMatches as _};

use super::count::count_up;
use super::*;
use crate::exit::{Ended, Exit};
use crate::registry::Entry;

fn flags(args: &[&str]) -> SetFlags {
    let matches = SetFlags::augment_args(Command::new("set")).try_get_matches_from([&["set"], args].concat()).unwrap();
    SetFlags::from_arg_matches(&matches).unwrap()
}

fn cleared(args: &[&str]) -> UnsetFlags {
    let command = UnsetFlags::augment_args(Command::new("unset"));
    UnsetFlags::from_arg_matches(&command.try_get_matches_from([&["unset"], args].concat()).unwrap()).unwrap()
}

#[test]
fn addresses_count_up_over_the_byte() {
    let at = |index| count_up("ipaddr", "10.0.0.254", index).unwrap();
    assert_eq!((at(0), at(1), at(2)), ("10.0.0.254".into(), "10.0.0.255".into(), "10.0.1.0".into()));
    assert!(count_up("ipaddr", "255.255.255.255", 1).is_err());
    assert!(count_up("ipaddr", "x", 1).is_err());
    assert_eq!(count_up("ipaddr6", "fd00::ffff", 1).unwrap(), "fd00::1:0");
}

#[test]
fn flags_set_clear_and_leave_alone() {
    let mut entry = Entry { image: Some("old".into()), rack: Some("r1".into()), ..Entry::default() };
    let args = ["--image", "UNDEF", "-A", "~quiet console=ttyS0,115200", "--tagadd", "a=b=c,d=e", "--tagadd", "x=1,2"];
    flags(&args).apply(&mut entry, 0, 1).unwrap();
    assert_eq!((entry.image, entry.rack), (None, Some("r1".into())));
    assert_eq!(entry.kernel.args, ["~quiet", "console=ttyS0,115200"].into_iter().collect());
    let tags: Vec<_> = entry.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    assert_eq!(tags, ["a:b=c", "d:e", "x:1,2"]);
    assert!(entry.network_devices.is_empty());
}

#[test]
fn every_flag_sets_its_field_and_unset_clears_it() {
    let args = "--profile a,b --comment c --cluster c --groups g --image i --ipxe x --grubboot --bootprogram x.efi --runtime-overlays r \
        --system-overlays s --kernelversion 6 --kernelargs q --init /i --root tmpfs --rootsize 30 --onfail reboot \
        --seed 1h --upload 1gbit --download none --dscp le --nice 5 --cpus 0-3 --rack r --primarynet n --asset t --discoverable --ipmiuser u --ipmipass p --ipmiaddr 10.0.0.1 \
        --ipminetmask 24 --ipmigateway 10.0.0.9 --ipmiport 623 --ipmiinterface lan --ipmiescapechar ~ --ipmiwrite \
        --ipmitemplate t --netname n --type ethernet --onboot --netdev e --hwaddr 52:54:00:00:00:01 --ipaddr 10.0.0.2 \
        --netmask 24 --gateway 10.0.0.9 --ipaddr6 fd00::1 --prefixlen6 64 --gateway6 fd00::9 --mtu 9000 --diskname \
        /dev/sda --diskwipe --partname p --partnumber 1 --partsize 2 --partstart 3 --parttype t --partguid g --partwipe \
        --partcreate --partresize --fsname /dev/sda1 --fsformat ext4 --fspath /data --fswipe --fslabel l --fsuuid u \
        --fsoptions o --fsmountoptions a,b --resourceadd r={\"x\":[1]}";
    let words: Vec<&str> = args.split_whitespace().collect();
    let mut entry = Entry::default();
    flags(&words).apply(&mut entry, 0, 1).unwrap();
    let set = crate::registry::flatten(&entry);
    assert_eq!(set.len(), table::FIELDS.len() + 1, "{set:#?}");
    assert_eq!(set["disks: /dev/sda: partitions: p: should_exist"], "true");
    assert_eq!(set["resources: r: x"], "[1]");

    let clear: Vec<String> = table::FIELDS.iter().map(|field| format!("--{}", field.flag)).collect();
    let about = ["--netname", "n", "--diskname", "/dev/sda", "--partname", "p", "--fsname", "/dev/sda1"];
    let clear: Vec<&str> = clear.iter().map(String::as_str).chain(about).chain(["--resource", "r"]).collect();
    cleared(&clear).apply(&mut entry).unwrap();
    let left = crate::registry::flatten(&entry);
    assert!(left.values().all(|value| value == "{}"), "{left:#?}");
}

#[test]
fn parts_are_added_by_name_and_taken_out_as_a_whole() {
    let mut entry = Entry::default();
    flags(&["--diskname", "/dev/sda", "--partname", "p", "--partsize", "9"]).apply(&mut entry, 0, 1).unwrap();
    let error = flags(&["--partsize", "9"]).apply(&mut entry, 0, 1).unwrap_err();
    assert!(error.to_string().contains("--diskname"), "{error}");
    flags(&["--diskname", "/dev/sda", "--partdel", "p"]).apply(&mut entry, 0, 1).unwrap();
    assert!(entry.disks["/dev/sda"].partitions.is_empty());
    flags(&["--diskdel", "/dev/sda"]).apply(&mut entry, 0, 1).unwrap();
    assert!(entry.disks.is_empty());
    let error = flags(&["--netdel", "ib"]).apply(&mut entry, 0, 1).unwrap_err();
    assert_eq!(Ended::code_of(&error), Exit::Usage);
    flags(&["--profileadd", "a", "--profileadd", "b,a"]).apply(&mut entry, 0, 1).unwrap();
    flags(&["--profiledel", "a"]).apply(&mut entry, 0, 1).unwrap();
    assert_eq!(entry.profiles, ["b"].into_iter().collect());
}

#[test]
fn controllers_count_up_too_and_one_mac_address_for_two_nodes_is_refused() {
    let mut entry = Entry::default();
    flags(&["--ipmiaddr", "10.1.0.255"]).apply(&mut entry, 1, 2).unwrap();
    assert_eq!(entry.ipmi.ipaddr, Some("10.1.1.0".into()));
    let error = flags(&["-H", "52:54:00:00:00:01"]).apply(&mut entry, 0, 2).unwrap_err();
    assert_eq!(Ended::code_of(&error), Exit::Usage);
}
