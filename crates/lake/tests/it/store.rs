//! The object store under the table, by the rules of `object_store`.

use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use millrace_disk::sim::SimDisk;
use millrace_lake::SyncedStore;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode};

fn store(disk: &SimDisk) -> SyncedStore {
    SyncedStore::new(Arc::new(disk.clone()), PathBuf::from("root"), false)
}

async fn names(store: &SyncedStore, prefix: &str) -> Vec<String> {
    let listed: Vec<_> = store.list(Some(&Path::from(prefix))).try_collect().await.unwrap();
    listed.into_iter().map(|meta| meta.location.to_string()).collect()
}

#[tokio::test]
async fn files_are_put_got_listed_moved_and_removed() {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    let (a, b, c) = (Path::from("d/a"), Path::from("d/e/b"), Path::from("d/c"));
    store.put(&a, "first".into()).await.unwrap();
    store.put(&b, "second".into()).await.unwrap();
    let taken = store.put_opts(&a, "other".into(), PutMode::Create.into()).await;
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })));
    store.put(&a, "third!".into()).await.unwrap();
    assert_eq!(store.get(&a).await.unwrap().bytes().await.unwrap(), "third!");
    assert_eq!(store.get_range(&a, 1..3).await.unwrap(), "hi");
    assert_eq!(store.get_ranges(&a, &[0..1, 5..6]).await.unwrap(), ["t", "!"]);
    let tail = GetOptions { range: Some(GetRange::Suffix(2)), ..GetOptions::default() };
    assert_eq!(store.get_opts(&a, tail).await.unwrap().bytes().await.unwrap(), "d!");
    assert_eq!(store.head(&a).await.unwrap().size, 6);
    assert_eq!(names(&store, "d").await, ["d/a", "d/e/b"]);
    assert_eq!(names(&store, "nowhere").await, [""; 0]);
    let below = store.list_with_delimiter(Some(&Path::from("d"))).await.unwrap();
    assert_eq!((below.objects.len(), below.common_prefixes), (1, vec![Path::from("d/e")]));

    store.copy(&a, &c).await.unwrap();
    assert!(matches!(store.copy_if_not_exists(&b, &c).await, Err(Error::AlreadyExists { .. })));
    assert!(matches!(store.rename_if_not_exists(&b, &c).await, Err(Error::AlreadyExists { .. })));
    store.rename(&b, &c).await.unwrap();
    assert_eq!(store.get(&c).await.unwrap().bytes().await.unwrap(), "second");
    store.delete(&c).await.unwrap();
    for gone in [&b, &c] {
        assert!(matches!(store.get(gone).await, Err(Error::NotFound { .. })));
        assert!(matches!(store.delete(gone).await, Err(Error::NotFound { .. })));
    }
}

#[tokio::test]
async fn what_was_answered_survives_the_power() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let store = store(&disk);
        let path = Path::from("d/file");
        store.put(&path, "old".into()).await.unwrap();
        disk.halt_after(seed % 7);
        let replaced = store.put(&path, "newer".into()).await.is_ok();
        disk.crash();
        let found = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert!(found == "newer" || (found == "old" && !replaced), "seed {seed}: {found:?}");

        let mut upload = store.put_multipart(&Path::from("d/large")).await.unwrap();
        let parts: Vec<_> = (0..5_u8).map(|part| upload.put_part(vec![part; 1000].into())).collect();
        futures::future::try_join_all(parts).await.unwrap();
        assert_eq!(names(&store, "d").await, ["d/file"], "not before it is complete");
        upload.complete().await.unwrap();
        disk.crash();
        let whole = store.get(&Path::from("d/large")).await.unwrap().bytes().await.unwrap();
        assert!(
            whole.chunks(1000).enumerate().all(|(part, bytes)| bytes.iter().all(|byte| *byte == part as u8))
        );
    }
}

#[tokio::test]
async fn a_reading_store_writes_nothing() {
    let disk = SimDisk::new(1);
    store(&disk).put(&Path::from("a"), "x".into()).await.unwrap();
    let before = disk.operations();
    let reading = SyncedStore::new(Arc::new(disk.clone()), PathBuf::from("root"), true);
    let (a, b) = (Path::from("a"), Path::from("b"));
    assert!(reading.put(&b, "y".into()).await.is_err());
    assert!(reading.put_multipart(&b).await.is_err());
    assert!(reading.copy(&a, &b).await.is_err());
    assert!(reading.rename(&a, &b).await.is_err());
    assert!(reading.delete(&a).await.is_err());
    let deleted: Vec<_> = reading.delete_stream(futures::stream::iter([Ok(a)]).boxed()).collect().await;
    assert!(deleted[0].is_err());
    assert_eq!(disk.operations(), before);
}
