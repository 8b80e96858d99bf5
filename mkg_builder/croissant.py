"""The release described in Croissant 1.1, so that any reader of that format finds its tables, columns and splits."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from mkg_builder import schema
from mkg_builder.clock import day

CROISSANT = "croissant.json"
PARQUET = "application/x-parquet"

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "annotation": "cr:annotation",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "excludes": "cr:excludes",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The JSON-LD context that the Croissant specification gives."""

TYPES = {
    pa.string(): "sc:Text", pa.bool_(): "sc:Boolean", pa.int32(): "cr:Int32", pa.int64(): "cr:Int64",
    pa.uint64(): "cr:UInt64", pa.float32(): "cr:Float32", pa.float64(): "cr:Float64",
}  # fmt: skip


def croissant(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The description as JSON-LD, from a manifest that lists the Parquet files already.

    The manifest then lists this file too: each byte is covered once, and nothing refers to itself. Dates are the
    snapshot's, so that the same release is described in the same bytes.
    """
    recipe, files = manifest["recipe"], manifest["files"]
    folders = {name.partition("/")[0] for name in files}
    present = [table for table in schema.TABLES.values() if table.name in folders]
    fields = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": recipe["title"],
        "alternateName": manifest["name"],
        "description": recipe["description"],
        "version": manifest["version"],
        "license": recipe["license_link"] or recipe["license"],
        "citeAs": recipe["citation"] or f"{recipe['title']}, version {manifest['version']}",
        "datePublished": day(manifest["snapshot"]["last"]),
        "url": recipe["homepage"],
        "inLanguage": recipe["language"],
        "keywords": recipe["tags"],
        "rai:dataBiases": recipe["biases"],
        "distribution": [
            *(_file(name, entry) for name, entry in sorted(files.items()) if name.endswith(".parquet")),
            *(_file_set(table, recipe["images"]) for table in present),
        ],
        "recordSet": [_record_set(table) for table in present],
    }
    return {name: value for name, value in fields.items() if value}


def croissant_text(manifest: Mapping[str, Any]) -> str:
    """The same as it stands in the release."""
    return json.dumps(croissant(manifest), indent=2, ensure_ascii=False) + "\n"


def _file(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name,
        "contentSize": f"{entry['bytes']} B", "encodingFormat": PARQUET, "sha256": entry["sha256"],
    }  # fmt: skip


def _file_set(table: schema.TableFormat, images: Mapping[str, Any]) -> dict[str, Any]:
    """All shards of a table, found in the folder of this file; those with pictures under the pictures' licence."""
    pictured = any(pa.types.is_struct(kind) for kind in table.columns.types)
    licence = images["license_link"] or images["license"]
    return {
        "@type": "cr:FileSet", "@id": f"{table.name}-files", "name": f"{table.name}-files",
        "description": f"The shards of the table {table.name}.",
        "encodingFormat": PARQUET, "includes": f"{table.name}/*.parquet",
        **({"license": licence} if pictured and licence else {}),
    }  # fmt: skip


def _record_set(table: schema.TableFormat) -> dict[str, Any]:
    """A table's columns; where it is split, the split is read from the file's name."""
    fields = [_field(table, field) for field in table.columns]
    if len(table.splits) > 1:
        fields.append({
            "@type": "cr:Field", "@id": f"{table.name}/split", "name": f"{table.name}/split",
            "description": f"One of {', '.join(table.splits)}.",
            "dataType": ["sc:Text", "cr:Split"],
            "source": {
                "fileSet": {"@id": f"{table.name}-files"}, "extract": {"fileProperty": "filename"},
                "transform": {"regex": f"^({'|'.join(table.splits)})-.*\\.parquet$"},
            },
        })  # fmt: skip
    return {
        "@type": "cr:RecordSet", "@id": table.name, "name": table.name, "description": table.description,
        "field": fields,
    }  # fmt: skip


def _field(table: schema.TableFormat, field: pa.Field) -> dict[str, Any]:
    """One column; a struct is a picture as `datasets` keeps it, its bytes and a name."""
    source: dict[str, Any] = {"fileSet": {"@id": f"{table.name}-files"}, "extract": {"column": field.name}}
    described: dict[str, Any] = {"@type": "cr:Field", "@id": f"{table.name}/{field.name}", "source": source}
    if pa.types.is_struct(field.type):
        source["transform"] = {"jsonPath": "bytes"}
        described["dataType"] = "sc:ImageObject"
    elif pa.types.is_list(field.type):
        described |= {"dataType": TYPES[field.type.value_type], "isArray": True, "arrayShape": "-1"}
    else:
        described["dataType"] = TYPES[field.type]
    return {**described, "name": described["@id"]}
