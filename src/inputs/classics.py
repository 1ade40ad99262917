"""Classic paintings by name: public-domain works, fetched once, checked, and kept."""

from dataclasses import dataclass
from pathlib import Path

from src.errors import InputError

HOST = "https://raw.githubusercontent.com"
SILENCE = 20  # seconds without an answer after which there is no network


@dataclass(frozen=True)
class Classic:
    """A painting and where a scan of it lies: a public repository at a fixed commit.

    Attributes:
        title: painter, title, year. All of them died more than 70 years ago.
        repository: `owner/name` of the repository.
        commit: the commit, so that what is fetched never changes.
        file: path in it.
        sha256: the file's checksum.
    """

    title: str
    repository: str
    commit: str
    file: str
    sha256: str

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"{HOST}/{self.repository}/{self.commit}/{self.file}"


CLASSICS = {
    "starry_night": Classic(
        "Vincent van Gogh, The Starry Night, 1889",
        "ProGamerGov/neural-style-pt",
        "72514050755394270abf526252cb9ff95c20dcf2",
        "examples/inputs/starry_night_google.jpg",
        "c31741a09141c2e2d07fc7aa6bdf135c369b804f9433e43fa3ceac19386d1ee6",
    ),
    "the_scream": Classic(
        "Edvard Munch, The Scream, 1893",
        "ProGamerGov/neural-style-pt",
        "72514050755394270abf526252cb9ff95c20dcf2",
        "examples/inputs/the_scream.jpg",
        "f3075cddeb974a9ee1d6418f7f33fd05185a7ac7dcb4288bd2805d499a9dcaee",
    ),
    "composition_vii": Classic(
        "Wassily Kandinsky, Composition VII, 1913",
        "jcjohnson/fast-neural-style",
        "813c83441953ead2adb3f65f4cc2d5599d735fa7",
        "images/styles/composition_vii.jpg",
        "8f992ed4aecd6dd56972d7bc8166761de7c94e670ee6effa8fd05f3daeb33409",
    ),
    "great_wave": Classic(
        "Katsushika Hokusai, The Great Wave off Kanagawa, 1831",
        "jcjohnson/fast-neural-style",
        "813c83441953ead2adb3f65f4cc2d5599d735fa7",
        "images/styles/wave.jpg",
        "14bcf58a39b7095168f27756d76d0c615bb8954acc5eae9e62c66a9684c2ee2b",
    ),
    "wheat_field": Classic(
        "Vincent van Gogh, Wheat Field with Cypresses, 1889",
        "gordicaleksa/pytorch-neural-style-transfer",
        "a244dc61797f920a62146d98de92384352a4d3a2",
        "data/style-images/vg_wheat_field.jpg",
        "da6959c2bc8e874f09df0cdce63dd86a1f11b61bf560ff498e1dfe483cdf8a81",
    ),
    "water_lilies": Classic(
        "Claude Monet, Water Lilies, 1919",
        "titu1994/Neural-Style-Transfer",
        "d09334855211579ea1adb9ad04f09fc8a7573850",
        "images/inputs/style/water-lilies-1919-2.jpg",
        "db4c4fe90c02be04d269f2f598357bb8cd4ea0541712a90d4913e91b1da689d7",
    ),
}


def cached(name: str) -> Path:
    """Where a classic is kept on this machine, once it was fetched."""
    import pooch  # 0.2 s, and only where a classic is asked for

    return Path(pooch.os_cache("depth-style-transfer")) / "paintings" / f"{name}.jpg"


def fetch(name: str, key: str, instead: list[str]) -> Path:
    """The file of a classic, fetched on first use.

    Args:
        name: one of `CLASSICS`.
        key: the configuration key that named it, for the error.
        instead: names that need no network, to offer.

    Raises:
        InputError: no network, or a file with another checksum.
    """
    import pooch

    classic, path = CLASSICS[name], cached(name)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            classic.url,
            known_hash=f"sha256:{classic.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=SILENCE),
        )
    except Exception as error:  # no network has many names, and so has a full disk
        # pooch has no type of its own for a wrong checksum
        reason = "another checksum" if "known hash" in str(error) else type(error).__name__
        raise InputError(
            key,
            f"'{name}', which is not on this machine and cannot be fetched from {classic.url} "
            f"({reason})",
            f"a network, once; or what is built in: {', '.join(instead)}; or a file",
        ) from error
    return path
