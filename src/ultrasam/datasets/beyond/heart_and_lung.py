"""Heart and lung."""

from __future__ import annotations

from ultrasam.datasets.description import UNKNOWN, DatasetInfo, bibtex

ROWS = (
    DatasetInfo(
        id="cardiacnet",
        name="CardiacNet",
        url="https://www.kaggle.com/datasets/xiaoweixumedicalai/abnormcardiacechovideos",
        access="kaggle",
        organ="heart",
        structures=("four_chambers",),
        kind="cine",
        size=UNKNOWN,
        note="Of patients with an atrial septal defect or pulmonary arterial hypertension.",
        citation=bibtex(
            "inproceedings",
            "cardiacnet",
            author="Yang, Jiewen and Lin, Yiqun and Pu, Bin and Guo, Jiarong and Xu, Xiaowei and Li, "
            "Xiaomeng",
            title="CardiacNet: Learning to Reconstruct Abnormalities for Cardiac Disease Assessment from "
            "Echocardiogram Videos",
            booktitle="ECCV",
            year=2024,
        ),
    ),
    DatasetInfo(
        id="rvenet",
        name="RVENet (MedSAM2)",
        url="https://huggingface.co/datasets/wanglab/RVENet-MedSAM2",
        access="unknown",
        organ="heart",
        structures=("right_ventricle",),
        kind="cine",
        size="masks of 1,800 clips of 3,583, of 831 patients",
        note="Masks of MedSAM2, corrected by people. The images are had from RVENET, under its own terms.",
        citation=bibtex(
            "article",
            "rvenet",
            author="Tokodi, Márton and Magyar, Bálint and others",
            title="Deep learning-based prediction of right ventricular ejection fraction using 2D "
            "echocardiograms",
            journal="Cardiovascular Imaging",
            volume=16,
            number=8,
            pages="1005--1018",
            year=2023,
        ),
    ),
    DatasetInfo(
        id="mitea",
        name="MITEA",
        url=UNKNOWN,
        access="agreement",
        license="data use agreement",
        organ="heart",
        structures=("left_ventricle",),
        kind="volume",
        size="536 volumes of 143 subjects, 10 of whom were excluded",
        note="Labels are registered from cardiac MRI of the same subjects.",
        citation=bibtex(
            "article",
            "mitea",
            author="Zhao, Debbie and Ferdian, Edward and Maso Talou, Gonzalo D. and others",
            title="MITEA: A dataset for machine learning segmentation of the left ventricle in 3D "
            "echocardiography using subject-specific labels from cardiac magnetic resonance imaging",
            journal="Frontiers in Cardiovascular Medicine",
            volume=9,
            year=2023,
            doi="10.3389/fcvm.2022.1016703",
        ),
    ),
    DatasetInfo(
        id="echonet_lvh",
        name="EchoNet-LVH",
        url="https://aimi.stanford.edu/datasets/echonet-lvh",
        access="agreement",
        license="data use agreement",
        organ="heart",
        structures=("left_ventricle_walls",),
        kind="cine",
        size="12,000 clips",
        annotation="lines",
        note="Measurements of wall thickness and chamber size, in the parasternal long axis.",
        citation=bibtex(
            "article",
            "echonetlvh",
            title="High-Throughput Precision Phenotyping of Left Ventricular Hypertrophy With Cardiovascular "
            "Deep Learning",
            journal="JAMA Cardiology",
            year=2022,
            doi="10.1001/jamacardio.2021.6059",
        ),
    ),
    DatasetInfo(
        id="pleural_line",
        name="Pleural-line masks (Stanford LUS)",
        url="https://huggingface.co/datasets/alyaalmsouti/Pleural-Line-Segmentation-Masks",
        access="open",
        license="other",
        organ="lung",
        structures=("pleural_line",),
        kind="cine",
        size=UNKNOWN,
        note="Some masks are of four raters, made with SAM 2; others were predicted and then reviewed. Some "
        "frames have no mask.",
        citation=bibtex(
            "misc", "pleuralline", eprint="2607.17551", archiveprefix="arXiv", year=2026
        ),
    ),
)
