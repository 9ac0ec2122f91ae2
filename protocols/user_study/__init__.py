"""The paper's Table 2: a rating study that people take in a browser (see docs/user-study.md).

build    clips and videos of several runs -> a study folder, blinded            study.py sources.py encode.py build.py
plan     which participant sees which video when, counterbalanced                plan.py
invite   links for participants; ``status`` says how far each is                store.py
serve    the web application; an acknowledged rating is on disk                  app.py limits.py serve.py pages/
export   the same pages as one folder without a server; ``import`` reads back    static_export.py static_import.py
analyse  mean opinion scores with intervals, agreement, Table 2                  analyse.py
"""
