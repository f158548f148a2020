"""The simulation of a preload, against what can be computed by hand."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from imageprep_client.preload.simulation import (
    Figures,
    SimulatedSite,
    simulate,
)

_GB = 1_000_000_000
#: Machines that cost nothing but the bytes.
_FREE = Figures(
    image=0.0, begin=1e-6, setup=0.0, cycle=0.0, start=0.0, look=0.0
)


def site(nodes: int, size: int = _GB, images: int = 86) -> SimulatedSite:
    return SimulatedSite(fill=size, nodes=[(size, images)] * nodes)


def test_one_node_unpacks_at_its_rate() -> None:
    """A node alone takes its bytes by its rate, and time for each image."""
    figures = dataclasses.replace(_FREE, image=0.5)
    result = simulate([site(1, images=10)], 8, figures)
    assert result.pulling == pytest.approx(_GB / 1e8 + 10 * 0.5, abs=0.1)


def test_nodes_share_the_link_of_their_site() -> None:
    """More nodes at once take no less time than their bytes on the link."""
    figures = dataclasses.replace(_FREE, site_link=200e6)
    result = simulate([site(20)], 20, figures)
    assert result.pulling == pytest.approx(20 * _GB / 200e6, rel=0.05)
    assert result.limit == "the links of the sites"


def test_sites_work_at_the_same_time() -> None:
    """Fifty sites take as long as one, but for the controller."""
    one = simulate([site(20)], 8, _FREE)
    many = simulate([site(20)] * 50, 8, _FREE)
    assert many.pulling == pytest.approx(one.pulling, rel=0.01)
    assert many.node_bytes == 50 * one.node_bytes


def test_sites_are_filled_by_one_reading() -> None:
    """The source sends its bytes once; the uplink sends them to each."""
    figures = dataclasses.replace(_FREE, source_link=1e8, uplink=1e9)
    assert simulate([site(1)] * 5, 8, figures).filling == pytest.approx(10)
    assert simulate([site(1)] * 50, 8, figures).filling == pytest.approx(50)


def test_waves() -> None:
    """The window says in how many waves the nodes of a site come."""
    assert simulate([site(20), site(3)], 8, _FREE).waves == 3


def test_controller_grows_with_nodes_and_cycles() -> None:
    """A node costs one start, whatever it pulls, and its looks."""
    figures = Figures()
    result = simulate([site(20)] * 50, 8, figures)
    starts = figures.setup + 2 * 1000 * figures.start
    most = result.cycles * (figures.cycle + 50 * 8 * figures.look)
    assert starts < result.processor < starts + most


def test_nodes_of_one_machine_share_it() -> None:
    """Twenty nodes of ten seconds take a hundred on a machine for two."""
    shared = dataclasses.replace(_FREE, together=2.0)
    result = simulate([site(20)], 8, shared)
    assert result.pulling == pytest.approx(100, rel=0.05)


def test_nothing_to_do() -> None:
    """Without nodes it takes no time."""
    assert simulate([], 8, Figures()).seconds == 0


@pytest.mark.parametrize(
    ("count", "nodes", "window"), [(50, 20, 8), (1, 1000, 8), (1, 1000, 12)]
)
def test_guide_has_the_figures(count: int, nodes: int, window: int) -> None:
    """The table of the user guide is what the simulation says."""
    result = simulate([site(nodes, 4 * _GB)] * count, window, Figures())
    cells = [
        f"{count} of {nodes}",
        str(window),
        f"{result.filling:.0f} s",
        f"{result.pulling:.0f} s",
        str(result.waves),
        f"{result.processor:.0f} s",
        result.limit,
    ]
    row = "   * - " + "\n     - ".join(cells) + "\n"
    guide = pathlib.Path(__file__).parents[3] / "doc/source/user/preload.rst"
    assert row in guide.read_text()
