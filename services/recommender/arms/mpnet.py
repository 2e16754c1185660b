"""The meaning of a song's text after all-mpnet-base-v2, 768 dimensions."""

from services.recommender.arms.content import ContentArm

ARM = ContentArm("mpnet")
