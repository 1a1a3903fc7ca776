"""What `handmesh --help` shows beside names and texts: groups of commands and options, and examples."""

from handsynth.core.program import Help

HELP = Help(
    commands={
        "From images": ("predict", "live", "kinematics", "retarget", "weights"),
        "Training": ("nets", "convert", "train", "evaluate", "submit", "export"),
    },
    options={
        "Data": ("--data", "--val", "--photos", "--predictions", "--hand", "--poses", "--workers", "--cache", "--skip-bad"),
        "The net": ("--net", "--side", "--pretrained", "--bin-centres", "--auxiliary", "--dof", "--known-shape", "--layer"),
        "Optimisation": (
            "--batch",
            "--epochs",
            "--steps",
            "--epoch-hands",
            "--minutes",
            "--lr",
            "--seed",
            "--decay-norms",
            "--ema",
        ),
        "Augmentation": (
            "--box-jitter",
            "--amplitude",
            "--erasing",
            "--rotation-deg",
            "--scale",
            "--colour",
            "--grey",
            "--saturation",
            "--contrast",
            "--sharpness",
            "--noise-mm",
            "--jitter-deg",
            "--swap",
        ),
        "Camera": ("--focal", "--K", "--root-depth"),
        "Joint angles": ("--kinematics", "--ik-run", "--shape", "--refine"),
    },
    examples={
        "": (
            "handmesh predict photo.jpg",
            "handmesh train mesh cpu --data data/mine --val data/val --out runs/mine",
            "handmesh evaluate runs/mine --data data/val",
            "handmesh --install-completion",
        ),
        "nets": ("handmesh nets", "handmesh nets lite-fast"),
        "convert freihand": ("handmesh convert freihand FreiHAND_pub_v2 data/frei --hand mano/hand.npz",),
        "convert keypoints": ("handmesh convert keypoints mano freihand.yaml",),
        "convert photos": (
            "handmesh convert photos freihand FreiHAND_pub_v2 FreiHAND_pub_v2/photos.json",
            "handmesh convert photos mmpose onehand10k.json photos.json --side right",
        ),
        "train mesh": (
            "handmesh train mesh paper --data data/manorender --data data/angrender --val data/val --out runs/lite",
            "handmesh train mesh cpu64 --data data/manorender=0.5 --data data/mine --val data/val --out runs/small --minutes 30",
        ),
        "train ik": ("handmesh train ik ik-cpu --out runs/ik",),
        "train side": ("handmesh train side side --data data/crowd --data data/mine --val data/crowd-val --out runs/side",),
        "train detector": (
            "handmesh train detector detector --data data/crowd --val data/crowd-val --out runs/detector",
            "handmesh train detector detector --data data/crowd --val data/crowd-val --out runs/detector --minutes 60",
        ),
        "evaluate": ("handmesh evaluate runs/lite --data data/heldout", "handmesh evaluate runs/lite --photos labels.json"),
        "submit freihand": ("handmesh submit freihand runs/lite FreiHAND_pub_v2 pred.zip",),
        "predict": (
            "handmesh predict photo.jpg",
            "handmesh predict photo.jpg --run runs/lite --box 120 80 360 330",
            "handmesh predict photo.jpg --detector runs/detector",
            "handmesh predict closeup.jpg --detector none --left",
            "handmesh predict film.mp4 --out found",
        ),
        "live": ("handmesh live 0", "handmesh live film.mp4 --no-display --out found"),
        "kinematics fit": (
            "handmesh kinematics fit data/mine --out angles",
            "handmesh kinematics fit hand.obj --left --out angles",
        ),
        "kinematics solve": ("handmesh kinematics solve runs/ik mesh.obj --out angles",),
        "kinematics export": (
            "handmesh kinematics export --format urdf hand.urdf",
            "handmesh kinematics export --format mjcf hand.xml",
        ),
        "retarget": (
            "handmesh retarget film.mp4 --robot hand --simulate --out found",
            "handmesh retarget angles.csv --robot gripper.urdf --correspondences gripper.yaml --out found",
        ),
        "export": ("handmesh export runs/lite lite.onnx",),
        "weights list": ("handmesh weights list",),
        "weights path": ("handmesh weights path",),
    },
)
