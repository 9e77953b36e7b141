//! Waves, boot programs, GRUB, and the choice of templates.

use super::*;
use crate::boot::{InitramfsFormat, Loader, Programs};

#[tokio::test]
async fn firmware_gets_boot_programs_as_what_it_takes_for_one() {
    let world = world();
    let (status, headers, _) = world.ask("HEAD", "/nbp/snponly.efi", &[]).await;
    assert_eq!((status, header_of(&headers, header::CONTENT_LENGTH)), (StatusCode::OK, Some("10")));
    assert_eq!(header_of(&headers, header::CONTENT_TYPE), Some("application/efi"));
    assert_eq!(world.get("/nbp/snponly.efi").await.1, "MZ program");
    let told = world.events();
    assert_eq!((told[0].phase, told[0].detail.as_str()), (Phase::Nbp, "snponly.efi"));
    let (status, script) = world.get("/nbp/autoexec.ipxe").await;
    assert!(status == StatusCode::OK && script.contains("http://10.0.0.1:9872/boot/${netX/mac:hexhyp}/"), "{script}");
    for path in ["/nbp/", "/nbp/x", "/nbp/../x", "/nbp/..%2fx", "/nbp/a/b/c", "/nbp//etc/passwd"] {
        assert_eq!(world.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn grub_is_led_to_the_script_of_its_machine() {
    let world = world();
    let (status, text) = world.get("/grub/grub.cfg").await;
    assert!(status == StatusCode::OK && text.contains("/grub/${net_default_mac}/grub.cfg"), "{text}");
    // As GRUB writes the address.
    let (status, script) = world.get("/grub/52:54:00:00:00:01/grub.cfg").await;
    assert!(status == StatusCode::OK && script.contains(&format!("linux '{}'", kernel_path())), "{script}");
    assert!(script.contains("'/boot/52-54-00-00-00-01/token'") && !script.contains("'initrd="), "{script}");
    assert_eq!(world.get("/grub/52-54-00-00-00-01/grubx64.efi").await.1, "grubx64.efi of debian");
    assert_eq!(world.get("/grub/52-54-00-00-00-01/SHIMX64.EFI").await.1, "shimx64.efi of debian");
    assert_eq!(world.get("/grub/52-54-00-00-00-02/shimx64.efi").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(world.get("/grub/52-54-00-00-00-09/shimx64.efi").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/grub/52-54-00-00-00-01/passwd").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_node_chooses_its_template_and_an_unknown_one_is_told_of() {
    let mut world = world();
    let chosen =
        |name: &str, mac, image, template: &str| Node { ipxe: Some(template.into()), ..node(name, mac, image) };
    let nodes = [chosen("n1", MAC, Some("debian"), "nowhere"), chosen("bare", BARE, None, "localdisk")];
    world.services.nodes = watch::channel(Arc::new(Snapshot::new(nodes))).1;
    let (_, script) = world.get("/boot/52-54-00-00-00-02/script.ipxe").await;
    assert!(script.contains("sanboot") && script.contains("bare boots from its local disk"), "{script}");
    assert_eq!(world.events()[0].detail, "template localdisk");
    let (_, script) = world.get("/boot/52-54-00-00-00-01/script.ipxe").await;
    assert!(script.contains("there is no boot script template") && script.contains("sleep"), "{script}");
}

#[tokio::test]
async fn where_machines_boot_in_waves_the_next_begins_when_one_has_everything() {
    let mut world = world();
    world.services.wave = 1;
    let mut other = node("n2", BARE, Some("debian"));
    other.interfaces[0].ip = Some("10.0.0.8".parse().unwrap());
    world.services.nodes = watch::channel(Arc::new(Snapshot::new([node("n1", MAC, Some("debian")), other]))).1;
    let desk = Arc::new(Desk::new(world.services.clone()));
    let peer = Peer { remote: (ADDRESS, 4000).into(), local: "10.0.0.1:9872".parse().unwrap(), proof: world.proof };
    let script = async |mac| {
        let (text, _) = desk.script(Loader::Ipxe, peer, mac).await.unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    };
    assert!(script(MAC).await.contains("kernel --name"));
    assert!(script(BARE).await.contains("1 machines load before n2"));
    assert!(script(MAC).await.contains("kernel --name"), "it keeps its place");
    let (_, event) = desk.agent(peer, InitramfsFormat::Zstd).await.unwrap();
    desk.record(event.unwrap());
    assert!(script(BARE).await.contains("kernel --name"));
}

#[tokio::test]
async fn a_boot_program_that_a_node_names_is_served_and_its_neighbours_in_the_directory_are_not() {
    let mut world = world();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old.kpxe"), "old").unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    world.services.programs = Arc::new(Programs::find(&[dir.path().into()], []));
    assert_eq!(world.get("/nbp/old.kpxe").await.0, StatusCode::NOT_FOUND, "nobody names it");
    let mut named = node("n1", MAC, Some("debian"));
    named.boot.program = Some("old.kpxe".into());
    world.services.nodes = watch::channel(Arc::new(Snapshot::new([named]))).1;
    assert_eq!(world.get("/nbp/old.kpxe").await, (StatusCode::OK, "old".into()));
    for path in ["/nbp/secret", "/nbp/../secret", "/nbp/old.kpxe/x"] {
        assert_eq!(world.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_node_that_fetches_for_its_neighbours_does_not_count_as_booting() {
    let world = world();
    let header = (wulfpack_shared::bootargs::NEIGHBOUR_HEADER, "1");
    let (status, _, body) = world.ask("GET", &kernel_path(), &[header]).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "0123456789"));
    assert_eq!(world.events(), []);
    world.get(&kernel_path()).await;
    assert_eq!(world.events().len(), 1);
}

#[tokio::test]
async fn a_choice_for_one_boot_goes_before_the_registry_once() {
    use crate::once::OnceRecord;
    let world = world();
    let choose = |name: &str, choice: &str| {
        let (who, at) = ("root".into(), wulfpack_shared::time::UnixTime(1));
        let record = OnceRecord { choice: choice.parse().unwrap(), who, at, taken: None };
        world.services.once.choose(&[name.parse().unwrap()], Some(&record)).unwrap();
    };
    choose("n1", "localdisk");
    let script = async |mac: &str| world.get(&format!("/boot/{mac}/script.ipxe")).await.1;
    assert!(script("52-54-00-00-00-01").await.contains("sanboot"));
    assert!(script("52-54-00-00-00-01").await.contains(&kernel_path()), "it was used");
    // A node without an image boots one, and loses the choice only with the last file before its kernel starts.
    choose("bare", "debian");
    for _ in 0..2 {
        assert!(script("52-54-00-00-00-02").await.contains(&kernel_path()));
    }
    let desk = Desk::new(world.services.clone());
    let event = BootEvent {
        mac: BARE,
        node: Some("bare".parse().unwrap()),
        phase: Phase::Kernel,
        ip: None,
        detail: "agent".into(),
        bytes: 1,
    };
    desk.record(event);
    assert!(script("52-54-00-00-00-02").await.contains("has no image"));
    assert_eq!(world.services.once.all().len(), 1, "until it joins");
}
