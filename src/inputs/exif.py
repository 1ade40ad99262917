"""What a camera wrote into a photo, as far as it still holds of a picture made from it."""

from pathlib import Path

from PIL import Image
from PIL.ExifTags import IFD, Base

from src.inputs.pictures import open_still

# Not orientation, sizes, thumbnails or the maker's notes: these are of the photo's own pixels.
OF_PHOTO = (Base.Make, Base.Model, Base.DateTime, Base.Artist, Base.Copyright)
OF_EXPOSURE = (
    Base.ExposureTime,
    Base.FNumber,
    Base.ExposureProgram,
    Base.ISOSpeedRatings,
    Base.DateTimeOriginal,
    Base.DateTimeDigitized,
    Base.OffsetTime,
    Base.OffsetTimeOriginal,
    Base.ExposureBiasValue,
    Base.MeteringMode,
    Base.Flash,
    Base.FocalLength,
    Base.FocalLengthIn35mmFilm,
    Base.WhiteBalance,
    Base.LensMake,
    Base.LensModel,
)


MOST = 4000  # bytes in all: what a picture has no room for must not cost the picture


def camera_exif(path: Path, location: bool = False) -> Image.Exif:
    """Camera, exposure, time and author of a photo; where it was taken only with `location`.

    Empty for what is no picture, and where there is no EXIF, or a broken or endless one.
    """
    kept = Image.Exif()
    try:
        with open_still(path.expanduser(), "content") as picture:
            exif = picture.getexif()
            exposure, gps = dict(exif.get_ifd(IFD.Exif)), dict(exif.get_ifd(IFD.GPSInfo))
        kept.update({tag: exif[tag] for tag in OF_PHOTO if tag in exif})
        own = kept.get_ifd(IFD.Exif)
        own.update({tag: exposure[tag] for tag in OF_EXPOSURE if tag in exposure})
        if location:
            kept.get_ifd(IFD.GPSInfo).update(gps)
        return kept if len(kept.tobytes()) <= MOST else Image.Exif()
    except Exception:  # Pillow has many ways of saying that EXIF is broken
        return Image.Exif()
