"""The meaning of a song's text after all-MiniLM-L6-v2, 384 dimensions."""

from services.recommender.arms.content import ContentArm

ARM = ContentArm("minilm")
