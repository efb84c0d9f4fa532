DROP TABLE proven;
