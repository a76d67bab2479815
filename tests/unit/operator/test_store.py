"""What is known of the cluster, from events and from listings that say what is missing."""

from typing import Any

from unit.operator.builders import NAMESPACE, body, key

from distill_operator.observation import KIND_LABEL, NAME_LABEL, UID_LABEL, PodListing, ResourceKey
from distill_operator.store import WatchedStore

DATASET, RUN = key("DistillDataset"), key("FinetuneRun")


def resource(kind: str, version: int, uid: str, **metadata: Any) -> dict[str, Any]:
    return body(kind, metadata={"uid": uid, "resourceVersion": str(version), **metadata})


def child(version: int, uid: str, namespace: str = NAMESPACE, **labels: str) -> dict[str, Any]:
    owner = {KIND_LABEL: "DistillDataset", NAME_LABEL: "math", UID_LABEL: "dataset"}
    metadata = {"name": uid, "namespace": namespace, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**metadata, "labels": {**owner, **labels}}}


def store_with(*objects: tuple[str, dict[str, Any]]) -> WatchedStore:
    store = WatchedStore()
    for kind, item in objects:
        store.put(kind, item)
    return store


def pods(store: WatchedStore) -> list[str]:
    return [pod.name for pod in store.pods(DATASET)]


def test_keeps_of_an_object_what_reconciling_reads() -> None:
    store = store_with(("DistillDataset", resource("DistillDataset", 1, "dataset", managedFields=[{"long": "list"}])))
    known = store.resource(DATASET)
    assert known is not None
    assert set(known) == {"metadata", "spec", "status"}
    assert "managedFields" not in known["metadata"]


def test_a_later_event_replaces_what_was_known() -> None:
    store = store_with(
        ("DistillDataset", resource("DistillDataset", 1, "dataset")),
        ("DistillDataset", resource("DistillDataset", 2, "dataset", generation=7)),
    )
    known = store.resource(DATASET)
    assert known is not None
    assert known["metadata"]["generation"] == 7


def test_what_is_discarded_is_not_known() -> None:
    store = store_with(("DistillDataset", resource("DistillDataset", 1, "dataset")), ("Pod", child(2, "a")))
    store.discard("DistillDataset", "dataset")
    store.discard("Pod", "a")
    store.discard("Pod", "never seen")
    assert (store.resource(DATASET), pods(store)) == (None, [])


def test_of_two_of_one_name_the_newer_counts_whichever_was_heard_of_last() -> None:
    store = store_with(
        ("DistillDataset", resource("DistillDataset", 5, "made-anew")),
        ("DistillDataset", resource("DistillDataset", 4, "deleted-unnoticed")),
    )
    known = store.resource(DATASET)
    assert known is not None
    assert known["metadata"]["uid"] == "made-anew"


def test_the_end_of_an_older_one_of_the_name_leaves_the_newer() -> None:
    store = store_with(
        ("DistillDataset", resource("DistillDataset", 4, "older")),
        ("DistillDataset", resource("DistillDataset", 5, "newer")),
    )
    store.discard("DistillDataset", "older")
    assert store.resource(DATASET) is not None


def test_finds_jobs_and_pods_by_whom_they_belong_to() -> None:
    store = store_with(("Job", child(1, "job")), ("Pod", child(2, "b")), ("Pod", child(3, "a")))
    assert [job.name for job in store.jobs(DATASET)] == ["job"]
    assert pods(store) == ["b", "a"]
    assert store.pods(RUN) == ()


def test_children_keep_their_order_when_they_change() -> None:
    store = store_with(("Pod", child(1, "b")), ("Pod", child(2, "a")), ("Pod", child(3, "b")))
    assert pods(store) == ["b", "a"]


def test_a_pod_whose_label_is_taken_away_belongs_to_nobody() -> None:
    store = store_with(("Pod", child(1, "a")))
    assert store.put("Pod", child(2, "a", **{KIND_LABEL: "SomethingElse"})) == (DATASET,)
    assert pods(store) == []
    assert store.put("Pod", child(3, "a", **{KIND_LABEL: "SomethingElse"})) == ()


def test_a_pod_whose_label_is_changed_belongs_to_another() -> None:
    store = store_with(("Pod", child(1, "a")))
    other = ResourceKey("DistillDataset", NAMESPACE, "other")
    assert store.put("Pod", child(2, "a", **{NAME_LABEL: "other"})) == (DATASET, other)
    assert (pods(store), [pod.name for pod in store.pods(other)]) == ([], ["a"])


def test_what_is_no_newer_than_what_is_known_is_no_news() -> None:
    """What was written is in the answer to the write, and comes again by the watch, after what had been before."""
    store = store_with(("DistillDataset", resource("DistillDataset", 10, "dataset", generation=7)))
    for version in (9, 10):
        assert store.put("DistillDataset", resource("DistillDataset", version, "dataset", generation=6)) == ()
    known = store.resource(DATASET)
    assert known is not None
    assert known["metadata"]["generation"] == 7


def test_an_object_concerns_those_that_wait_for_it() -> None:
    store = store_with(("FinetuneRun", resource("FinetuneRun", 2, "run")))
    assert store.dependencies(RUN) == (DATASET,)
    assert store.put("DistillDataset", resource("DistillDataset", 3, "dataset")) == (DATASET, RUN)
    assert store.put("Pod", child(4, "a")) == (DATASET,)
    assert store.discard("DistillDataset", "dataset") == (DATASET, RUN)
    assert store.discard("FinetuneRun", "run") == (RUN,)
    assert store.put("DistillDataset", resource("DistillDataset", 5, "dataset")) == (DATASET,)


def test_an_object_may_wait_for_several_others() -> None:
    waiting = resource("EvalRun", 2, "run")
    waiting["spec"]["compareWith"] = [{"evalRef": {"name": name}} for name in ("base", "last")]
    store = store_with(("EvalRun", waiting))
    score = ResourceKey("EvalRun", NAMESPACE, "score")
    for version, name in ((3, "base"), (4, "last")):
        other = resource("EvalRun", version, name)
        other["metadata"]["name"] = name
        assert store.put("EvalRun", other) == (ResourceKey("EvalRun", NAMESPACE, name), score)
    assert len(store.dependencies(score)) == 3
    store.discard("EvalRun", "run")
    other = resource("EvalRun", 5, "base")
    other["metadata"]["name"] = "base"
    assert store.put("EvalRun", other) == (ResourceKey("EvalRun", NAMESPACE, "base"),)


def test_knows_every_object_by_its_key() -> None:
    store = store_with(
        ("DistillDataset", resource("DistillDataset", 1, "dataset")), ("FinetuneRun", resource("FinetuneRun", 2, "run"))
    )
    assert store.known() == (DATASET, RUN)


def test_an_object_that_is_not_valid_waits_for_nothing() -> None:
    store = store_with(("FinetuneRun", {**resource("FinetuneRun", 1, "run"), "spec": {"datasetRef": 3}}))
    assert store.resource(RUN) is not None
    assert store.dependencies(RUN) == ()


def test_what_a_listing_does_not_name_is_gone() -> None:
    store = store_with(("Pod", child(1, "gone")), ("Pod", child(2, "there")))
    assert store.discard_missing("Pod", None, 9, {"there"}) == (DATASET,)
    assert pods(store) == ["there"]


def test_a_missing_object_concerns_those_that_wait_for_it() -> None:
    store = store_with(
        ("DistillDataset", resource("DistillDataset", 1, "dataset")), ("FinetuneRun", resource("FinetuneRun", 2, "run"))
    )
    assert store.discard_missing("DistillDataset", None, 9, set()) == (DATASET, RUN)
    assert store.resource(DATASET) is None


def test_what_is_newer_than_the_listing_stays() -> None:
    """Created after the API server made the listing, known before it arrived."""
    store = store_with(("Pod", child(9, "as-old")), ("Pod", child(10, "newer")))
    assert store.discard_missing("Pod", None, 9, set()) == (DATASET,)
    assert pods(store) == ["newer"]


def test_versions_are_compared_as_numbers() -> None:
    store = store_with(("Pod", child(1000, "newer")))
    assert store.discard_missing("Pod", None, 999, set()) == ()
    assert pods(store) == ["newer"]


def test_a_listing_of_one_namespace_says_nothing_of_others() -> None:
    store = store_with(("Pod", child(1, "a")))
    assert store.discard_missing("Pod", "team-b", 9, set()) == ()
    assert store.discard_missing("Pod", NAMESPACE, 9, set()) == (DATASET,)


def test_a_listing_of_one_kind_says_nothing_of_others() -> None:
    store = store_with(("Pod", child(1, "a")))
    assert store.discard_missing("Job", None, 9, set()) == ()
    assert pods(store) == ["a"]


def test_the_pods_of_an_object_are_those_that_a_listing_has_just_named() -> None:
    """A watch that is late has brought neither the end of one nor the beginning of another."""
    store = store_with(("Pod", child(1, "gone")), ("Pod", child(2, "there")), ("Pod", child(10, "newer")))
    store.put("Pod", child(3, "another-s", **{NAME_LABEL: "other"}))
    store.take_pods(DATASET, PodListing(9, (child(2, "there"), child(8, "unheard-of"))))
    assert pods(store) == ["there", "newer", "unheard-of"]
    assert [pod.name for pod in store.pods(ResourceKey("DistillDataset", NAMESPACE, "other"))] == ["another-s"]
