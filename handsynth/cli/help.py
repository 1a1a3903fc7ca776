"""What `handsynth --help` shows beside names and texts: groups of commands and options, and examples."""

from handsynth.core.program import Help

HELP = Help(
    commands={
        "Before a dataset": ("doctor", "assets", "plan", "recipe", "preview"),
        "Making one": ("generate",),
        "With one that is there": ("verify", "show", "replay", "stats", "export"),
    },
    options={
        "What is made": ("--samples", "--indices", "--seed", "--shard-size", "--passes"),
        "Assets": (
            "--hand",
            "--backgrounds",
            "--annotations",
            "--environments",
            "--textures",
            "--exclude-no-derivatives",
            "--assets",
        ),
        "How it is run": (
            "--jobs",
            "--backend",
            "--scheduler",
            "--nnodes",
            "--node-rank",
            "--slurm",
            "--renderer",
            "--device",
            "--profile",
        ),
    },
    examples={
        "": (
            "handsynth preview default sheet.png",
            "handsynth generate default data/mine --samples 1000 --jobs 2",
            "handsynth verify data/mine --replay 4",
            "handsynth --install-completion",
        ),
        "doctor": ("handsynth doctor", "handsynth doctor --json"),
        "plan": (
            "handsynth plan manorender",
            "handsynth plan default --yaml > mine.yaml",
            "handsynth plan angrender --plot cameras.png",
        ),
        "recipe": ("handsynth recipe default --indices 0:3",),
        "preview": (
            "handsynth preview default sheet.png -n 16 --zoom 2",
            "handsynth preview mine.yaml sheet.png --seed 7",
            "handsynth preview clips clips.webp -n 4",
        ),
        "generate": (
            "handsynth generate manorender data/manorender --jobs 16",
            "handsynth generate default data/mine --samples 2000 --passes depth,parts",
            "handsynth generate clips data/clips --samples 600 --passes flow",
            "handsynth generate default data/coco --backgrounds coco/train2017",
            "handsynth generate manorender s3://bucket/manorender --backend dask --scheduler tcp://host:8786",
        ),
        "verify": ("handsynth verify data/mine", "handsynth verify data/mine --replay 16"),
        "show": ("handsynth show data/mine 123 --save sample.png",),
        "replay": ("handsynth replay data/mine 123",),
        "stats": ("handsynth stats data/mine --json",),
        "export freihand": ("handsynth export freihand data/mine data/freihand",),
        "export coco": ("handsynth export coco data/mine data/coco",),
        "export hamer": ("handsynth export hamer data/mine data/hamer --shard-size 500",),
        "export bop": ("handsynth export bop data/mine data/bop",),
        "export huggingface": ("handsynth export huggingface data/mine data/hub",),
        "assets list": ("handsynth assets list",),
        "assets check": ("handsynth assets check",),
        "assets prepare": (
            "handsynth assets prepare --mano mano_v1_2.zip",
            "handsynth assets prepare --html HTML_release_both_hands.zip",
        ),
        "assets holdings": ("handsynth assets holdings --jobs 8",),
    },
)
