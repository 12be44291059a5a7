"""What was published on the report's own set of films, as tables to stand beside ours.

The report is A. Arneodo, D. Beretta and P. Giaccaglia, "Pneumonia and Tuberculosis recognition from
human lungs X-Ray images", Politecnico di Milano, January 2023: ``overall.csv`` is its Table 1,
``per_class.csv`` its Table 2, ``training.csv`` the epochs and accuracies of its training chapter. A
second group worked on the same set; ``second_group.csv`` holds the means of its five folds. All
shares are fractions of 1.
"""
