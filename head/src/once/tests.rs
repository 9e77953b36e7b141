use std::sync::Arc;

use wulfpack_shared::id::{BootId, Mac, NodeName};
use wulfpack_shared::time::UnixTime;

use super::*;
use crate::boot::Once;
use crate::store::{RedbStore, Store};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const NOW: UnixTime = UnixTime(1_000_000);
const SCRIPT: Step = Step::Script { boots_image: true };
const LOCAL: Step = Step::Script { boots_image: false };

fn record(choice: &str) -> OnceRecord {
    OnceRecord { choice: choice.parse().unwrap(), who: "root".into(), at: NOW, taken: None }
}

struct Bench {
    dir: tempfile::TempDir,
    book: OnceBook,
    node: NodeName,
}

fn open(dir: &tempfile::TempDir) -> OnceBook {
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&dir.path().join("state.redb")).unwrap());
    OnceBook::open(store).unwrap()
}

fn bench(choice: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let (book, node): (_, NodeName) = (open(&dir), "n1".parse().unwrap());
    book.choose(std::slice::from_ref(&node), Some(&record(choice))).unwrap();
    Bench { dir, book, node }
}

impl Bench {
    /// The head starts again.
    fn restart(self) -> Self {
        let Self { dir, book, node } = self;
        drop(book);
        let book = open(&dir);
        Self { dir, book, node }
    }

    fn loaded(&self, step: Step) -> Option<Once> {
        let used = self.book.loaded(&self.node, step, MAC, NOW);
        self.book.flush().unwrap();
        used
    }

    fn waiting(&self) -> Option<String> {
        self.book.waiting(&self.node).map(|once| once.to_string())
    }
}

#[test]
fn a_choice_without_an_image_is_used_by_the_script_and_survives_a_restart_until_then() {
    let bench = bench("localdisk").restart();
    assert_eq!(bench.waiting().as_deref(), Some("localdisk"));
    let used = bench.loaded(LOCAL);
    assert_eq!(used, Some("localdisk".parse::<Once>().unwrap()));
    assert_eq!(bench.waiting(), None);
    let bench = bench.restart();
    assert!(bench.waiting().is_none() && bench.book.all().is_empty(), "a restart brings nothing back");
    assert_eq!(bench.loaded(LOCAL), None);
}

#[test]
fn an_image_is_used_by_the_agent_and_counts_for_the_join_of_that_boot_only() {
    let bench = bench("debian").restart();
    // The kernel cannot be loaded, and the script is asked for again.
    assert_eq!(bench.loaded(SCRIPT), None);
    assert_eq!(bench.waiting().as_deref(), Some("debian"));
    assert!(bench.book.joins(&bench.node, BootId([9; 16])).unwrap().is_none(), "nobody has loaded it yet");
    assert!(bench.loaded(Step::Agent).is_some());
    assert_eq!(bench.waiting(), None, "another script in the meantime is that of the next boot");
    let bench = bench.restart();
    for _ in 0..2 {
        let image = bench.book.joins(&bench.node, BootId([1; 16])).unwrap().unwrap();
        assert_eq!(image.to_string(), "debian", "also where the answer was lost");
    }
    assert!(bench.book.joins(&bench.node, BootId([2; 16])).unwrap().is_none(), "another boot");
    assert_eq!(bench.loaded(SCRIPT), None);
    assert_eq!(bench.loaded(Step::Agent), None, "the next boot uses nothing up");
    assert!(bench.book.all().is_empty());
}

#[test]
fn a_template_that_boots_the_image_is_used_by_the_agent() {
    let bench = bench("default");
    assert_eq!(bench.loaded(SCRIPT), None);
    assert_eq!(bench.waiting().as_deref(), Some("default"));
    assert!(bench.loaded(Step::Agent).is_some());
    assert!(bench.book.all().is_empty());
}

#[test]
fn a_choice_can_be_taken_back_and_replaced() {
    let bench = bench("localdisk");
    bench.book.choose(std::slice::from_ref(&bench.node), Some(&record("shell"))).unwrap();
    assert_eq!(bench.waiting().as_deref(), Some("shell"));
    bench.book.choose(std::slice::from_ref(&bench.node), None).unwrap();
    let bench = bench.restart();
    assert_eq!((bench.waiting(), bench.book.all().len()), (None, 0));
}
