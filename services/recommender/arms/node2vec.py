"""Where a song stands in the graph of songs, anime, people and tags."""

from services.recommender.arms.content import ContentArm

ARM = ContentArm("node2vec")
