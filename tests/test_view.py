"""Views: live, closed and opened again, compared with what plain loops put into a numpy array."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.cube_facts import cube_from
from ome_writers.testing import strategies
from ome_writers.testing.model import arrivals, frame_pixels
from ome_writers.view import StreamView, open_view
from ome_writers.writers.memory import MemoryWriter

ROOTS = {"memory": "", "ome-zarr": "a.ome.zarr", "ome-tiff": "a.ome.tiff"}


@pytest.fixture(params=ROOTS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = ROOTS[request.param]
    return str(tmp_path / name) if name else ""


def acquisition(root: str, sizes: dict[str, Any] | None = None, **kwargs: Any) -> ow.AcquisitionSettings:
    chunks = kwargs.pop("chunks", None)
    dims = ow.dims_from_standard_axes(sizes or {"t": 4, "p": ["A", "B"], "c": ["D", "G"], "y": 3, "x": 5}, chunks)
    return ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims, **kwargs)


def frame(value: int, shape: tuple[int, int] = (3, 5)) -> NDArray[Any]:
    return np.full(shape, value, "uint16")


class TestShape:
    def test_it_grows_with_what_has_come(self, root: str) -> None:
        with ow.create_stream(acquisition(root)) as stream:
            view = stream.view()
            seen = [view.shape]
            for number in range(6):
                stream.append(frame(number))
                seen.append(view.shape)
        assert [shape[:3] for shape in seen] == [
            (0, 0, 0),
            (1, 1, 1),
            (1, 1, 2),
            (1, 2, 2),
            (1, 2, 2),
            (2, 2, 2),
            (2, 2, 2),
        ]
        assert {shape[3:] for shape in seen} == {(3, 5)}
        assert view.shape == (2, 2, 2, 3, 5)

    def test_skipped_frames_count(self, root: str) -> None:
        with ow.create_stream(acquisition(root)) as stream:
            stream.skip(frames=9)
            assert stream.view().shape[:3] == (3, 2, 2)

    def test_as_planned(self, root: str) -> None:
        with ow.create_stream(acquisition(root)) as stream:
            view = stream.view(dynamic_shape=False, strict=True)
            stream.append(frame(7))
            assert view.shape == (4, 2, 2, 3, 5)
            assert view[3, 1, 1].max() == 0
            assert view.coords == {
                "t": range(4),
                "p": ["A", "B"],
                "c": ["D", "G"],
                "y": range(3),
                "x": range(5),
            }

    def test_an_axis_without_end(self, root: str) -> None:
        with ow.create_stream(acquisition(root, {"t": None, "c": 2, "y": 3, "x": 5})) as stream:
            views = stream.view(), stream.view(dynamic_shape=False)
            assert [view.shape for view in views] == [(0, 0, 3, 5), (0, 2, 3, 5)]
            for number in range(5):
                stream.append(frame(number + 1))
            assert [view.shape for view in views] == [(3, 2, 3, 5), (3, 2, 3, 5)]
            assert views[0][:, :, 0, 0].tolist() == [[1, 2], [3, 4], [5, 0]]
        assert views[0][:, :, 0, 0].tolist() == [[1, 2], [3, 4], [5, 0]]

    def test_attributes(self, root: str) -> None:
        with ow.create_stream(acquisition(root)) as stream:
            view = stream.view(strict=True)
            stream.append(frame(1))
            assert (view.dims, view.ndim, view.dtype) == (("t", "p", "c", "y", "x"), 5, np.dtype("uint16"))
            assert (view.dynamic_shape, view.strict, len(view)) == (True, True, 1)
            assert view.coords == {"t": range(1), "p": ["A"], "c": ["D"], "y": range(3), "x": range(5)}
            assert repr(view) == "<StreamView: t=1 p=1 c=1 y=3 x=5, uint16>"

    def test_coordinates_may_be_numbers(self) -> None:
        dims = [ow.Dimension(name="z", coords=[0, 0.5, 2], unit="um"), *acquisition("").dimensions[-2:]]
        with ow.create_stream(ow.AcquisitionSettings(dtype="uint16", dimensions=dims)) as stream:
            stream.skip(frames=2)
            assert stream.view().coords["z"] == [0, 0.5]

    def test_a_single_frame(self, root: str) -> None:
        with ow.create_stream(acquisition(root, {"y": 3, "x": 5})) as stream:
            view = stream.view()
            assert (view.shape, view[:].max()) == ((3, 5), 0)
            stream.append(frame(7))
            assert view[1, -1] == 7
        assert view[1, -1] == 7


class TestIndexing:
    @pytest.fixture
    def view(self, root: str) -> Iterator[StreamView]:
        """Return a view of half a run: 2 of 4 time points, each frame with the value of its number."""
        with ow.create_stream(acquisition(root)) as stream:
            for number in range(8):
                stream.append(frame(number))
            yield stream.view()

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ((1, 1, 1, 0, 0), 7),
            ((np.int64(1), np.uint8(0), np.array(1), 0, 0), 5),
            ((-1, -2, -1, -1, -1), 5),
            ((1, ..., 0, 0), [[4, 5], [6, 7]]),
            ((..., 1, 0, 0), [[1, 3], [5, 7]]),
            ((slice(None, None, -1), 0, 0, 0, 0), [4, 0]),
            ((slice(None, None, 2), slice(None), 0, 0, 0), [[0, 2]]),
            ((slice(0, 9), 0, 0, 0, slice(None, None, 3)), [[0, 0], [4, 4]]),
            ((slice(5, 9), 0, 0, 0, 0), []),
        ],
    )
    def test_as_numpy_does_it(self, view: StreamView, key: Any, expected: Any) -> None:
        assert view[key].tolist() == expected

    def test_fewer_indices_than_dimensions(self, view: StreamView) -> None:
        assert view[1].shape == (2, 2, 3, 5)
        assert view[...].shape == view.shape

    def test_what_is_planned_and_has_not_come_is_blank(self, view: StreamView) -> None:
        assert view[3, 1].tolist() == np.zeros((2, 3, 5)).tolist()

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            (4, "index 4 is out of bounds for dimension 't' with size 2"),
            (-3, "index -3 is out of bounds for dimension 't' with size 2"),
            ((0, 2), "index 2 is out of bounds for dimension 'p' with size 2"),
            ((0, 0, 0, 3), "dimension 'y' with size 3"),
            ((0,) * 6, "there are 5 dimensions, and 6 were indexed"),
            ((..., ...), "one ellipsis"),
            (None, "only integers, slices"),
            (True, "only integers, slices"),
            ([0, 1], "only integers, slices"),
            (np.array([1]), "only integers, slices"),
            (1.0, "only integers, slices"),
            ("t", "only integers, slices"),
        ],
    )
    def test_what_cannot_be_an_index(self, view: StreamView, key: Any, words: str) -> None:
        with pytest.raises(IndexError, match=words):
            view[key]

    def test_it_is_read_only(self, view: StreamView) -> None:
        with pytest.raises(TypeError, match="does not support item assignment"):
            view[0] = 1  # type: ignore[index]
        view[0][:] = 99
        assert view[0].max() == 3

    def test_as_an_array(self, view: StreamView) -> None:
        assert np.asarray(view).shape == (2, 2, 2, 3, 5)
        assert np.array(view, dtype="float32").dtype == "float32"
        assert [one.max() for one in view] == [3, 7]
        with pytest.raises(ValueError, match="cannot become an array without a copy"):
            np.asarray(view, copy=False)

    def test_strict(self, root: str) -> None:
        with ow.create_stream(acquisition(root)) as stream:
            view = stream.view(strict=True)
            with pytest.raises(IndexError, match="index 0 is out of bounds for dimension 't' with size 0"):
                view[0]
            stream.append(frame(5))
            assert view[0, 0, 0].max() == 5
            for key in (1, (0, 1), (0, 0, 1)):
                with pytest.raises(IndexError, match="with size 1"):
                    view[key]
            assert view[:4, :4].shape == (1, 1, 1, 3, 5)


def test_frames_that_lie_in_open_blocks_are_seen(root: str) -> None:
    sizes = {"t": 8, "c": 2, "y": 3, "x": 5}
    with ow.create_stream(acquisition(root, sizes, chunks={"t": 4, "c": 2})) as stream:
        view = stream.view()
        for number in range(3):
            stream.append(frame(number + 1))
        stream.skip()
        stream.append(frame(5))
        assert view[:, :, 0, 0].tolist() == [[1, 2], [3, 0], [5, 0]]
        assert view[2, 0, 1:, ::-2].tolist() == [[5, 5, 5], [5, 5, 5]]


class Counting(MemoryWriter):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, Any]] = []

    def read(self, array: int, selection: Any, /) -> NDArray[Any]:
        self.reads.append((array, selection))
        return super().read(array, selection)


def test_one_read_for_each_array_and_no_more_than_was_asked_for() -> None:
    writer = Counting()
    with ow.Stream(ow.compile(acquisition("")), writer) as stream:
        for number in range(16):
            stream.append(frame(number))
        view = stream.view()
        view[1:3, :, 0]
        assert writer.reads == [
            (0, (slice(1, 3), slice(0, 1), slice(0, 3), slice(0, 5))),
            (1, (slice(1, 3), slice(0, 1), slice(0, 3), slice(0, 5))),
        ]
        writer.reads.clear()
        assert view[::3, 0, 0, 0, 0].tolist() == [0, 12]
        assert [selection[0] for _, selection in writer.reads] == [slice(0, 1), slice(3, 4)]


def test_a_writer_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    class Mute(MemoryWriter):
        capabilities = evolve(MemoryWriter.capabilities, readable=False, persistent=True)

    with ow.Stream(ow.compile(acquisition(str(tmp_path / "a.ome.zarr"))), Mute()) as stream:
        view = stream.view()
        assert view.shape[0] == 0
        with pytest.raises(ValueError, match="cannot be read from while it writes"):
            view[0, 0]


def test_it_can_be_read_while_frames_come(root: str) -> None:
    count = 60
    with ow.create_stream(acquisition(root, {"t": count, "y": 3, "x": 5}, chunks={"t": 7})) as stream:
        view, faults = stream.view(), []

        def look() -> None:
            while (size := len(view)) < count:
                found = view[:size, 1, 1].tolist()
                faults.extend([found] if found != list(range(1, size + 1)) else [])

        thread = threading.Thread(target=look)
        thread.start()
        for number in range(count):
            stream.append(frame(number + 1))
        thread.join()
    assert not faults
    assert view[:, 0, 0].tolist() == list(range(1, count + 1))


class TestCoordsChanged:
    def test_it_calls_when_the_shape_grows(self) -> None:
        stream = ow.create_stream(acquisition(""))
        view = stream.view()
        seen: list[int] = []

        @view.coords_changed.connect
        def look() -> None:
            seen.append(view.shape[0])

        for number in range(16):
            stream.append(frame(number))
        stream.close()
        # t=0: a new channel, a new position, …; then once for each time point.
        assert len(seen) == 6
        assert seen == sorted(seen)

    def test_it_can_be_disconnected(self) -> None:
        with ow.create_stream(acquisition("")) as stream:
            signal = stream.view().coords_changed
            calls: list[int] = []
            callback = signal.connect(lambda: calls.append(1))
            signal.disconnect(callback)
            with pytest.raises(ValueError, match="not in list"):
                signal.disconnect(callback)
            stream.append(frame(0))
        assert calls == []

    def test_a_shape_that_does_not_grow_tells_nothing(self) -> None:
        calls: list[int] = []
        with ow.create_stream(acquisition("")) as stream:
            stream.view(dynamic_shape=False).coords_changed.connect(lambda: calls.append(1))
            stream.append(frame(0))
        assert calls == []


class TestOpenView:
    def test_nothing_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            open_view(tmp_path / "a.ome.zarr")

    def test_what_is_no_dataset(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(ValueError, match="is no OME-TIFF"):
            open_view(tmp_path / "notes.txt")
        with pytest.raises(ValueError, match="is neither an OME-Zarr nor a folder of OME-TIFF files"):
            open_view(tmp_path)

    @pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tiff"])
    def test_names_and_the_order_of_a_plate_come_back(self, tmp_path: Path, name: str) -> None:
        wells = [("A", "1"), ("B", "1"), ("A", "1"), ("B", "1")]
        positions = [
            ow.Position(name=f"site {number}", plate_row=row, plate_column=column)
            for number, (row, column) in enumerate(wells)
        ]
        dims = [
            ow.Dimension(name="where", type="position", coords=positions),
            ow.Dimension(name="stain", coords=["D", "G"], type="channel"),
            ow.Dimension(name="when", count=2, type="time"),
            *acquisition("").dimensions[-2:],
        ]
        settings = ow.AcquisitionSettings(
            root_path=str(tmp_path / name), dtype="uint16", dimensions=dims, plate=ow.Plate.from_standard_wells(6)
        )
        ow.write(ow.compile(settings), (frame(number) for number in range(16)))
        view = open_view(settings.output_path)
        assert view.dims == ("where", "stain", "when", "y", "x")
        assert view[..., 0, 0].reshape(-1).tolist() == list(range(16))
        assert view.coords["where"] == ["site 0", "site 1", "site 2", "site 3"]
        assert view.coords["stain"] == ["D", "G"]
        assert view.coords["when"] == range(2)

    def test_a_dataset_of_another_library_has_the_order_of_storage(self, tmp_path: Path) -> None:
        import zarr

        settings = acquisition(str(tmp_path / "a.ome.zarr"), {"p": ["A", "B"], "z": 3, "t": 2, "y": 3, "x": 5})
        ow.write(ow.compile(settings), (frame(number) for number in range(12)))
        root = zarr.open_group(settings.output_path, mode="r+")
        del root.attrs["ome_writers"]
        view = open_view(settings.output_path)
        assert view.dims == ("p", "t", "z", "y", "x")
        assert view[1, :, :, 0, 0].tolist() == [[6, 8, 10], [7, 9, 11]]


# ── any acquisition, any key ──────────────────────────────────────────────────────────────────────────────────────────


def keys(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    bound = st.none() | st.integers(-7, 7)
    slices = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -3]))
    return st.tuples(*[slices | st.integers(-size, size - 1) if size else slices for size in shape])


def expected(settings: ow.AcquisitionSettings, came: list[NDArray[Any] | None]) -> NDArray[Any]:
    """Return the acquisition as one array in order of acquisition, filled by plain loops."""
    arrived = list(islice(arrivals(settings), len(came)))
    loops = [
        max((tuple(one.loops.values())[axis] + 1 for one in arrived), default=0)
        for axis in range(len(settings.dimensions) - 2)
    ]
    out = np.zeros((*loops, *(dim.count or 0 for dim in settings.frame_dimensions)), settings.dtype)
    for one, pixels in zip(arrived, came, strict=True):
        if pixels is not None:
            out[tuple(one.loops.values())] = pixels
    return out


@given(
    drawn=strategies.settings(max_frames=12, max_loops=3, max_pixels=4),
    skipped=st.sets(st.integers(0, 11), max_size=4),
    data=st.data(),
)
@settings(max_examples=40)
def test_any_key_of_any_acquisition(drawn: ow.AcquisitionSettings, skipped: set[int], data: DataObject) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = str(Path(folder, drawn.root_path)) if drawn.root_path else ""
        acquired = evolve(drawn, root_path=root)
        total = 8 if acquired.num_frames is None else acquired.num_frames
        height, width = (dim.count or 1 for dim in acquired.frame_dimensions)
        came: list[NDArray[Any] | None] = []

        def must_be_seen(view: StreamView) -> None:
            wanted = expected(acquired, came)
            assert view.shape == wanted.shape
            key = data.draw(keys(wanted.shape))
            np.testing.assert_array_equal(view[key], wanted[key])

        with ow.create_stream(acquired) as stream:
            view = stream.view()
            for number in range(data.draw(st.integers(0, total))):
                came.append(None if number in skipped else frame_pixels(number, (height, width), acquired.dtype))
                if came[-1] is None:
                    stream.skip()
                else:
                    stream.append(came[-1])
            must_be_seen(view)
        must_be_seen(view)
        if root:
            again = open_view(acquired.output_path)
            assert again.dims == view.dims
            wanted = expected(acquired, came)
            np.testing.assert_array_equal(again[tuple(map(slice, wanted.shape))], wanted)


class TestWhatDocumentsSay:
    FACTS: Any = {  # noqa: RUF012 - never changed
        "dimensions": [{"name": "p", "type": "position", "count": 2}, {"name": "y", "type": "space", "count": 4}],
        "axes": ["y"],
    }

    @pytest.mark.parametrize("facts", [{}, {"dimensions": 3, "axes": []}, {**FACTS, "axes": ["z"]}])
    def test_nonsense_is_refused(self, facts: Any) -> None:
        with pytest.raises(ValueError, match="what the documents say of the dimensions cannot be understood"):
            cube_from(facts, [[4], [4]], ["uint8"] * 2)

    def test_as_many_arrays_as_the_loops_make(self) -> None:
        assert cube_from(self.FACTS, [[4], [4]], ["uint8"] * 2).counts == (2, 4)
        with pytest.raises(ValueError, match="but there are 3 arrays"):
            cube_from(self.FACTS, [[4], [4], [4]], ["uint8"] * 3)


def test_pages_that_are_still_to_come_read_as_the_fill_value(tmp_path: Path) -> None:
    dims = ow.dims_from_standard_axes({"t": 6, "y": 4, "x": 5})
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.tiff"), dtype="uint8", dimensions=dims, compression="zlib"
    )
    with ow.create_stream(settings) as stream:
        for number in range(3):
            stream.append(np.full((4, 5), number + 1, "uint8"))
        assert open_view(tmp_path / "a.ome.tiff")[:, 0, 0].tolist() == [1, 2, 3, 0, 0, 0]
