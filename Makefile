# `make` says what there is to make. Windows: README.md gives the plain pip and jupyter-book lines.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help book serve lab test test-fast notebooks new-chapter figures figure-data results table alpha-lab images bench quizzes slides zip notebooks-for-students assignments figures-zip wheel teach pdf test-browsers clean

export PYTHON TORCH_INDEX REPOSITORY BOOK_URL
BIN := .venv/bin
SOURCES := _config.yml _toc.yml pyproject.toml CITATION.cff \
	tools/sphinx_hooks.py tools/figures_hook.py tools/pictures_hook.py tools/quizzes.py \
	tools/student_notebooks.py tools/repository.py \
	$(wildcard book/*.ipynb book/*.md book/*.bib book/assets/* book/images/*) $(wildcard teach/quizzes/*) \
	$(wildcard metasgd_core/*.py metasgd_core/*/*.py metasgd_core/widgets/* metasgd_core/widgets/*/*)

help:
	@echo "make book        build the book into _build/html (the first time also makes .venv)"
	@echo "make serve       open it at http://127.0.0.1:8000 (PORT=...)"
	@echo "make lab         open the chapters in JupyterLab"
	@echo "make test        check everything, about twenty minutes"
	@echo "make test-fast   the checks for working, under a minute"
	@echo "make test-browsers  look at the pages in Firefox and in WebKit, where they are installed"
	@echo "make notebooks   run the chapters and write them canonically (ONLY=04-maml for one)"
	@echo "make new-chapter begin a chapter that passes the tests (NAME=12-few-shot)"
	@echo "make figures     draw the figure of the landing page again"
	@echo "make figure-data train again what the interactive figures show, about 15 minutes (its last needs Omniglot)"
	@echo "make results     train again what chapters 3, 7, 10, 11, 13 and 15 to 17 read, about ten hours (can be killed and resumed)"
	@echo "make table       make the paper's table again (chapter 9), under 15 minutes (can be killed and resumed)"
	@echo "make alpha-lab   train the arms of chapter 8 again, about half an hour (can be killed and resumed)"
	@echo "make images      train again what chapter 12 reads, about ten hours (needs Omniglot; can be killed and resumed)"
	@echo "make bench       time the meta-step against a plain loop and other libraries, about 10 minutes"
	@echo "make teach       all that a teacher needs, into _build/kit; it calls the next seven:"
	@echo "make slides      a deck for each chapter, with live figures, into _build/slides"
	@echo "make assignments the four assignments, their solutions and graders, tried with otter (minutes)"
	@echo "make notebooks-for-students  the chapters as plain notebooks without solutions, in a zip"
	@echo "make quizzes     export the quizzes as Moodle XML into _build/quizzes"
	@echo "make pdf         each page and the book as PDFs, for students and with solutions (ONLY=04-maml)"
	@echo "make figures-zip all drawn figures as SVG, light and dark, with captions, in a zip"
	@echo "make wheel       the package as a file that pip installs without a network"
	@echo "make zip         pack the built book for someone without Python (KIT=1: and what make teach makes)"
	@echo "make clean       remove what was built; .venv stays"
	@echo "Options: PYTHON=python3.12, TORCH_INDEX=https://download.pytorch.org/whl/cpu (Linux without a GPU),"
	@echo "         REPOSITORY=owner/name (where the book's links lead; without it, to git's origin)"
	@echo "         BOOK_URL=https://... (where the book is published, if not on GitHub's own pages)"

.venv/.installed: requirements.txt pyproject.toml tools/install.sh
	@sh tools/install.sh

# Built again for another address of the repository, too.
ifneq ($(shell REPOSITORY='$(REPOSITORY)' BOOK_URL='$(BOOK_URL)' $(BIN)/python tools/repository.py 2>&1),$(shell cat _build/.book 2>&1))
.PHONY: _build/.book
endif

# Built whole each time: an incremental build after a failed one reports no warnings, and the API
# page does not see an edited module.
_build/.book: .venv/.installed $(SOURCES)
	@$(BIN)/python tools/repository.py >/dev/null
	@echo "Building the book, less than a minute ..."
	@rm -rf _build/html _build/.doctrees && mkdir -p _build
	@$(BIN)/jupyter-book build . -W --keep-going -n --all -q >_build/log.txt 2>&1 \
		|| { cat _build/log.txt; echo "The book did not build: the warnings above name the places."; exit 1; }
	@$(BIN)/python tools/repository.py >$@

book: _build/.book
	@echo "The book is built: open _build/html/index.html"

serve: _build/.book
	@$(BIN)/python tools/serve.py $(PORT)

lab: .venv/.installed
	@$(BIN)/jupyter lab --ip=127.0.0.1 book

test: .venv/.installed
	@$(BIN)/python tools/check.py

test-fast: .venv/.installed
	@$(BIN)/python tools/check.py --fast

notebooks: .venv/.installed
	@$(BIN)/python tools/notebooks.py $(ONLY)

new-chapter: .venv/.installed
	@$(BIN)/python tools/new_chapter.py "$(NAME)"

figures: .venv/.installed
	@$(BIN)/python tools/figures.py

figure-data: .venv/.installed
	@$(BIN)/python -m metasgd_core.studies figure-sine figure-alpha-lab figure-cartpole figure-draw figure-guesser $(ARGS)

results: .venv/.installed
	@$(BIN)/python -m metasgd_core.studies cartpole-physics cartpole-swapped cartpole-secret navigation navigation-trpo fine-tuning one-step patients games learners exploration memory relatives optimiser cartpole-context rl2 $(ARGS)

table: .venv/.installed
	@$(BIN)/python -m metasgd_core.studies table $(ARGS)

alpha-lab: .venv/.installed
	@$(BIN)/python -m metasgd_core.studies alpha-lab $(ARGS)

images: .venv/.installed
	@$(BIN)/python -m metasgd_core.studies image-rates images image-methods image-settings image-long $(ARGS)

# Other libraries to time against, in an environment of their own: the book needs none of them.
.venv-bench/.installed: .venv/.installed requirements.txt tools/bench-requirements.txt
	@echo "Making .venv-bench, with the libraries to compare with; the first time takes minutes."
	@$(BIN)/python -m venv .venv-bench
	@test -z "$$TORCH_INDEX" || .venv-bench/bin/python -m pip -q install --no-deps \
		--index-url "$$TORCH_INDEX" "$$(grep '^torch==' requirements.txt)"
	@.venv-bench/bin/python -m pip -q install -c requirements.txt -r tools/bench-requirements.txt \
		|| { echo "Installing failed: pip's last lines above say why."; exit 1; }
	@touch $@

bench: .venv-bench/.installed
	@PYTHONPATH=. .venv-bench/bin/python tools/bench.py $(ARGS)
	@PYTHONPATH=. .venv-bench/bin/python tools/bench_conv.py
	@$(BIN)/python tools/bench_cartpole.py

quizzes: .venv/.installed
	@$(BIN)/python tools/quizzes.py --export _build/quizzes

# What the kit for teachers needs beside the book, in an environment that sees what .venv has.
SITE := import site; print(site.getsitepackages()[0])
TEACH := $(BIN)/python -m pip --disable-pip-version-check --python .venv-teach/bin/python install -q
SAY := { echo "Installing failed: pip's last lines above say why."; exit 1; }
.venv-teach/.made: .venv/.installed
	@$(BIN)/python -m venv --clear --without-pip .venv-teach
	@printf 'import site; site.addsitedir("%s")\n' "$$($(BIN)/python -c '$(SITE)')" \
		>"$$(.venv-teach/bin/python -c '$(SITE)')/book.pth"
	@touch $@

.venv-teach/.installed: .venv-teach/.made teach/requirements.txt
	@echo "Installing into .venv-teach what the kit for teachers needs."
	@$(TEACH) -c requirements.txt -r teach/requirements.txt || $(SAY)
	@touch $@

# The decks need one line of it.
.venv-teach/.slides: .venv-teach/.made teach/requirements.txt
	@$(TEACH) -c requirements.txt "$$(grep '^sphinx-revealjs' teach/requirements.txt)" || $(SAY)
	@touch $@

# And the PDFs another.
.venv-teach/.pdf: .venv-teach/.made teach/requirements.txt
	@$(TEACH) "$$(grep '^pypdf' teach/requirements.txt)" || $(SAY)
	@touch $@

# Built whole each time, as the book is.
slides: .venv-teach/.slides
	@echo "Building the decks ..."
	@rm -rf _build/slides _build/.decks && mkdir -p _build
	@.venv-teach/bin/python -m sphinx -b revealjs -W --keep-going -n -q \
		-d _build/.decks teach/decks _build/slides \
		|| { echo "The decks did not build: the warnings above name the places."; exit 1; }
	@echo "The decks are built: open _build/slides/index.html"

zip: _build/.book $(if $(KIT),teach)
	@rm -f _build/meta-sgd-book.zip
	@cd _build && ../$(BIN)/python -m zipfile -c meta-sgd-book.zip html $(if $(KIT),kit)
	@echo "Packed: _build/meta-sgd-book.zip (unpack it and open html/index.html$(if $(KIT), or kit/index.html))"

notebooks-for-students: _build/.book
	@rm -f _build/student-notebooks.zip
	@cd _build/html/notebooks && ../../../$(BIN)/python -m zipfile -c ../../student-notebooks.zip *.ipynb
	@echo "Packed: _build/student-notebooks.zip (for teachers, with solutions: _build/html/notebooks/teacher)"

assignments: .venv-teach/.installed
	@$(BIN)/python tools/assignments.py $(or $(ARGS),--grade)

figures-zip: _build/.book
	@rm -f _build/figures.zip
	@$(BIN)/python tools/pictures.py _build/figures.zip

# setuptools would pack what an older build has left.
wheel: .venv/.installed
	@rm -rf _build/wheel build
	@$(BIN)/python -m pip --disable-pip-version-check wheel -q --no-deps --no-build-isolation \
		-w _build/wheel . && rm -rf build
	@echo "Made: $$(ls _build/wheel/*.whl)"

teach: notebooks-for-students quizzes slides assignments figures-zip wheel pdf
	@$(BIN)/python tools/kit.py _build/kit

pdf: _build/.book .venv-teach/.pdf
	@echo "Printing; the whole book takes minutes ..."
	@$(BIN)/python tools/print_pages.py $(if $(ONLY),--only $(ONLY))
	@.venv-teach/bin/python tools/bind_book.py
	@echo "The PDFs are in _build/pdf, those with solutions in _build/pdf/teacher"

test-browsers: _build/.book
	@OTHER_BROWSERS=1 $(BIN)/python -m pytest -q -rs tests/book/test_other_browsers.py

clean:
	@rm -rf _build build *.egg-info .mypy_cache .ruff_cache .pytest_cache
