"""`animusic status`: every part is asked, nothing is started or changed."""
