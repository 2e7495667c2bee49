"""What makes a course of the notebooks: boxes to answer in, the series, pages and site."""
