"""The words of a song - title, credits, tags, anime - against those of the favoured songs' joined text."""

from services.recommender.arms.content import ContentArm

ARM = ContentArm("tfidf")
