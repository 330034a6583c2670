"""The domains of the SDTM-shaped export: their variables, which may not be null, and short names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

DOMAINS: Final[dict[str, tuple[str, str]]] = {
    "DM": (
        "SUBJID RFSTDTC RFENDTC RFXSTDTC RFXENDTC RFICDTC RFPENDTC DTHDTC DTHFL SITEID SEX ARMCD ARM ACTARMCD ACTARM "
        "ARMNRS COUNTRY",
        "SUBJID SITEID SEX COUNTRY",
    ),
    "DS": ("DSSEQ DSTERM DSDECOD DSCAT DSSCAT DSDTC DSSTDTC DSSTDY", "DSSEQ DSTERM DSDECOD DSCAT DSSTDTC"),
    "EC": (
        "ECSEQ ECSPID ECTRT ECPRESP ECOCCUR ECREASOC ECDOSE ECDOSU ECDOSFRM ECLOT ECSTDTC ECENDTC ECSTDY ECENDY",
        "ECSEQ ECTRT ECOCCUR",
    ),
    "EX": (
        "EXSEQ EXSPID EXTRT EXDOSE EXDOSU EXDOSFRM EXLOT EXADJ EXSTDTC EXENDTC EXSTDY EXENDY",
        "EXSEQ EXTRT EXSTDTC",
    ),
    "AE": (
        "AESEQ AESPID AETERM AEDECOD AESER AESDTH AESLIFE AESHOSP AESDISAB AESCONG AESMIE AEREL AEOUT AETOXGR AESTDTC "
        "AEENDTC AESTDY AEENDY",
        "AESEQ AETERM AESER AEREL AETOXGR",
    ),
    "SUPPAE": ("IDVAR IDVARVAL QNAM QLABEL QVAL QORIG QEVAL", "IDVAR IDVARVAL QNAM QLABEL QVAL QORIG"),
    "LB": (
        "LBSEQ LBTESTCD LBTEST LBORRES LBORRESU LBSTRESC LBSTRESN LBSTRESU LBLOBXFL LBDTC LBDY",
        "LBSEQ LBTESTCD LBTEST LBORRES LBDTC",
    ),
    "CM": ("CMSEQ CMTRT CMCAT CMDOSE CMDOSU CMSTDTC CMSTDY", "CMSEQ CMTRT CMDOSE CMSTDTC"),
    "SV": ("VISITNUM VISIT SVPRESP SVOCCUR SVREASOC SVSTDTC SVENDTC SVSTDY SVENDY", "VISITNUM VISIT SVOCCUR"),
    "RS": (
        "RSSEQ RSTESTCD RSTEST RSCAT RSORRES RSSTRESC RSEVAL RSDTC RSDY",
        "RSSEQ RSTESTCD RSTEST RSORRES RSSTRESC RSDTC",
    ),
    "DV": ("DVSEQ DVTERM DVCAT DVSTDTC DVSTDY", "DVSEQ DVTERM DVCAT DVSTDTC"),
    "IE": ("IESEQ IETESTCD IETEST IECAT IEORRES IESTRESC IEDTC IEDY", "IESEQ IETESTCD IETEST IECAT IEORRES"),
    "TA": ("ARMCD ARM TAETORD ETCD ELEMENT TABRANCH TATRANS EPOCH", "ARMCD ARM TAETORD ETCD EPOCH"),
    "TE": ("ETCD ELEMENT TESTRL TEENRL TEDUR", "ETCD ELEMENT TESTRL"),
    "TV": ("VISITNUM VISIT VISITDY ARMCD TVSTRL TVENRL", "VISITNUM VISIT ARMCD TVSTRL"),
    "TI": ("IETESTCD IETEST IECAT TIVERS", "IETESTCD IETEST IECAT"),
    "TS": ("TSSEQ TSPARMCD TSPARM TSVAL TSVALNF", "TSSEQ TSPARMCD TSPARM"),
    "ADSL": (
        "SUBJID SITEID ARMCD ARM TRT01P TRT01A TRTSDTM TRTSDT STAGE ROLE ENRLFL SAFFL DLTEVLFL DLTFL WINCMPFL DLTSTAT "
        "NEVALRS DTHFL",
        "SUBJID SITEID ENRLFL SAFFL DLTFL",
    ),
}
"""Every frame: its variables after the identifiers, and those that may not be null."""

TRIAL_DESIGN: Final = ("TA", "TE", "TV", "TI", "TS")
_BEFORE: Final = {"SUPPAE": "STUDYID RDOMAIN USUBJID", "ADSL": "STUDYID USUBJID"}


def variables(domain: str) -> list[str]:
    """The variables of a frame, identifiers first."""
    return [*identifiers(domain), *DOMAINS[domain][0].split()]


def identifiers(domain: str) -> list[str]:
    """The variables that say what a row of a frame belongs to."""
    return _BEFORE.get(domain, "STUDYID DOMAIN" + ("" if domain in TRIAL_DESIGN else " USUBJID")).split()


_STANDARD_CODES: Final = {"haemoglobin": "HGB", "platelets": "PLAT", "anc": "NEUT", "creatinine": "CREAT", "age": "AGE"}


def short_names(names: Sequence[str], most: int) -> dict[str, str]:
    """Names of at most ``most`` capital letters and digits that begin with a letter, no two the same."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        base = _STANDARD_CODES.get(name.strip().lower()) or re.sub(r"[^A-Z0-9]", "", name.upper())
        base = (base if base[:1].isalpha() else f"X{base}")[:most]
        short, number = base, 1
        while short in found.values():
            number += 1
            short = f"{base[: most - len(str(number))]}{number}"
        found[name] = short
    return found
