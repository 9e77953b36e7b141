//! Both stores on real files.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;
use crate::id::Hash;
use crate::identity::SecretKey;
use crate::image::{Compression, Header, Part, Run, SignedHeader, TableBuilder, verify};

struct Image {
    signed: SignedHeader,
    header: Header,
    blob: Vec<u8>,
    table: Vec<u8>,
}

fn image() -> Image {
    let blob: Vec<u8> = (0..200_000u32).map(|i| (i * 7 / 3) as u8).collect();
    let mut table = TableBuilder::default();
    for chunk in blob.chunks(30_000) {
        table.push(chunk);
    }
    let (table, count, pages) = table.finish().unwrap();
    let name = "debian".parse().unwrap();
    let header = Header::new(name, Part::of(&blob), Compression::Gzip, 1, count, pages, vec![], "test".into());
    let signed = SignedHeader::sign(&header, &SecretKey::from_seed([1; 32])).unwrap();
    Image { signed, header, blob, table }
}

fn fill(store: &FetchStore, image: &Image, skip: Option<u32>) {
    let page = verify(&image.header.pages[0], image.table.clone().into()).unwrap();
    store.write(0, &page).unwrap();
    store.geometry().set_table(crate::image::ChunkTable::parse(&image.header, &image.table).unwrap());
    for (unit, chunk) in (1u32..).zip(image.blob.chunks(30_000)) {
        if Some(unit) != skip {
            store.write(unit, &verify(&Hash::of(chunk), chunk.to_vec().into()).unwrap()).unwrap();
        }
    }
}

#[test]
fn what_is_written_is_read_until_it_is_sealed_and_after() {
    let (image, dir) = (image(), tempfile::tempdir().unwrap());
    let dir = dir.path().join("image");
    let store = FetchStore::create(&dir, &image.signed, image.header.clone()).unwrap();
    assert!(matches!(store.read(3), Err(StoreError::NoUnit { unit: 3 })), "no table yet");
    fill(&store, &image, None);
    assert_eq!(store.read(0).unwrap(), image.table);
    assert_eq!(store.read(7).unwrap(), image.blob[180_000..]);
    assert!(matches!(store.read(8), Err(StoreError::NoUnit { unit: 8 })));
    let wrong = verify(&Hash::of(b"x"), b"x"[..].to_vec().into()).unwrap();
    assert!(matches!(store.write(1, &wrong), Err(StoreError::Length { unit: 1, expected: 30_000, found: 1 })));
    store.seal().unwrap();
    store.seal().unwrap();
    assert!(matches!(store.write(1, &wrong), Err(StoreError::Length { .. } | StoreError::Sealed { .. })));
    assert_eq!(fs::read(store.blob_path()).unwrap(), image.blob);
    assert_eq!(store.read(1).unwrap(), image.blob[..30_000]);
}

#[test]
fn reopening_trusts_only_what_hashes_right() {
    let (image, dir) = (image(), tempfile::tempdir().unwrap());
    let dir = dir.path().join("image");
    let store = FetchStore::create(&dir, &image.signed, image.header.clone()).unwrap();
    fill(&store, &image, Some(5));
    drop(store);
    let blob = fs::OpenOptions::new().write(true).open(dir.join(BLOB_FILE)).unwrap();
    blob.write_all_at(b"rot", 40_000).unwrap();
    let (store, held) = FetchStore::reopen(&dir, &image.signed, image.header.clone()).unwrap();
    assert_eq!(held, [Run { first: 0, count: 2 }, Run { first: 3, count: 2 }, Run { first: 6, count: 2 }]);
    fill(&store, &image, None);
    store.seal().unwrap();
    let (_, held) = FetchStore::reopen(&dir, &image.signed, image.header.clone()).unwrap();
    assert_eq!(held, [Run { first: 0, count: 8 }]);
    // Without its table, no chunk is known.
    fs::write(dir.join(TABLE_FILE), vec![0; image.table.len()]).unwrap();
    assert_eq!(FetchStore::reopen(&dir, &image.signed, image.header.clone()).unwrap().1, []);
}

#[test]
fn reopening_refuses_another_image_and_short_files() {
    let (image, dir) = (image(), tempfile::tempdir().unwrap());
    let dir = dir.path().join("image");
    drop(FetchStore::create(&dir, &image.signed, image.header.clone()).unwrap());
    let other = SignedHeader::sign(&image.header, &SecretKey::from_seed([2; 32])).unwrap();
    let error = FetchStore::reopen(&dir, &other, image.header.clone()).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { what: "header", .. }), "{error}");
    fs::OpenOptions::new().write(true).open(dir.join(BLOB_FILE)).unwrap().set_len(5).unwrap();
    let error = FetchStore::reopen(&dir, &image.signed, image.header).unwrap_err();
    assert!(error.to_string().contains("it has 5 bytes, the header says 200000"), "{error}");
}

#[test]
fn a_seed_opens_only_the_files_of_its_header() {
    let (image, dir) = (image(), tempfile::tempdir().unwrap());
    let (blob, table) = (dir.path().join("b"), dir.path().join("t"));
    fs::write(&blob, &image.blob).unwrap();
    fs::write(&table, &image.table).unwrap();
    let seed = SeedStore::open(image.header.clone(), blob.clone(), table.clone()).unwrap();
    assert_eq!(seed.held(), [Run { first: 0, count: 8 }]);
    assert_eq!(seed.read(2).unwrap(), image.blob[30_000..60_000]);
    let page = verify(&image.header.pages[0], image.table.clone().into()).unwrap();
    assert!(matches!(seed.write(0, &page), Err(StoreError::Sealed { .. })));
    // Shrunk under our feet: an error that names the file, not a signal.
    fs::OpenOptions::new().write(true).open(&blob).unwrap().set_len(100).unwrap();
    let error = seed.read(2).unwrap_err();
    assert!(matches!(&error, StoreError::Io { path, .. } if *path == blob), "{error}");
    assert!(SeedStore::open(image.header.clone(), blob.clone(), table.clone()).is_err());
    fs::write(&blob, &image.blob).unwrap();
    let mut bad = image.table.clone();
    bad[40] ^= 1;
    fs::write(&table, bad).unwrap();
    let error = SeedStore::open(image.header, blob, table).unwrap_err();
    assert!(error.to_string().contains("page 0"), "{error}");
}

#[test]
fn a_seed_checks_each_unit_when_it_is_first_read_and_not_before() {
    let (image, dir) = (image(), tempfile::tempdir().unwrap());
    let (blob, table) = (dir.path().join("b"), dir.path().join("t"));
    fs::write(&blob, &image.blob).unwrap();
    fs::write(&table, &image.table).unwrap();
    let spoil = |at: u64| {
        let file = fs::OpenOptions::new().write(true).open(&blob).unwrap();
        file.write_all_at(&[!image.blob[at as usize]], at).unwrap();
    };
    spoil(30_000);
    let seed = SeedStore::open(image.header.clone(), blob.clone(), table).unwrap();
    assert_eq!(seed.held(), [Run { first: 0, count: 8 }], "nothing of the blob was read");
    let error = seed.read(2).unwrap_err();
    assert!(matches!(&error, StoreError::Rotten { unit: 2, path } if *path == blob), "{error}");
    assert!(seed.read(2).is_err(), "as often as it is asked for");
    assert_eq!(seed.read(1).unwrap(), image.blob[..30_000]);
    spoil(5);
    assert_ne!(seed.read(1).unwrap(), image.blob[..30_000], "once is enough: whoever gets it checks it too");
}

#[test]
fn a_full_disk_is_told_apart() {
    let full = StoreError::io("write", Path::new("/x"), io::Error::from(io::ErrorKind::StorageFull));
    assert!(matches!(full, StoreError::Full { .. }));
    // /dev/full says ENOSPC to every write.
    let named =
        files::Named { file: fs::OpenOptions::new().write(true).open("/dev/full").unwrap(), path: "/dev/full".into() };
    assert!(matches!(named.write(0, b"x"), Err(StoreError::Full { .. })));
}
