import tomllib

from tests.cluster import control_plane, network, nodes
from tests.cluster.settings import read_settings

SETTINGS = read_settings({"NPU_DISTILL_CACHE": "/cache", "NPU_DISTILL_NETWORK": "10.50.0.0/16"})
FIRST, SECOND = SETTINGS.nodes


def test_containerd_configuration_is_toml_and_asks_for_no_capability_that_may_be_missing() -> None:
    configuration = tomllib.loads(nodes.containerd_configuration())
    cri = configuration["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert cri["containerd"]["snapshotter"] == "overlayfs"
    assert configuration["grpc"]["address"] == nodes.CONTAINERD


def test_kubelets_of_two_nodes_differ_in_address_and_cgroup_only() -> None:
    first, second = (nodes.kubelet_configuration(SETTINGS, node) for node in (FIRST, SECOND))
    different = {key for key in first if first[key] != second[key]}
    assert different == {"address", "cgroupRoot"}
    assert first["failCgroupV1"] is False
    assert first["clusterDNS"] == ["10.50.0.1"]


def test_pods_of_a_node_get_addresses_of_its_own_range() -> None:
    plugins = nodes.network_configuration(SECOND)["plugins"]
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": "10.50.129.0/24"}]]


def test_every_path_of_a_node_is_short_whatever_the_cache_folder_is() -> None:
    deep = read_settings({"NPU_DISTILL_CACHE": f"/{'deep/' * 60}cache"})
    words = [word for program in nodes.agents(deep.nodes[0], deep) for word in program.command]
    assert not any("deep/" in word for word in words)
    assert len(str(deep.nodes[0].containerd_socket)) < 107


def test_a_node_has_a_route_to_the_other_nodes_pods_and_none_out_of_the_cluster() -> None:
    assert network.node_commands(SETTINGS, FIRST).splitlines() == [
        "link set lo up",
        "address add 10.50.0.10/24 dev eth0",
        "link set eth0 up",
        "route add 10.50.1.0/24 dev eth0",
        "route add 10.50.129.0/24 via 10.50.0.11",
    ]


def test_the_link_of_the_host_has_a_name_the_kernel_takes() -> None:
    assert len(network.HOST_LINK) <= 15


def test_the_default_storage_class_is_the_provisioners() -> None:
    manifest = control_plane.storage_class()
    assert manifest["provisioner"] == control_plane.PROVISIONER
    assert manifest["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
