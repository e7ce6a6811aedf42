//! Tests of the reader of Gruntwork runbooks.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;

use super::*;
use crate::RunbookFiles;
use documents::SecretAs;

/// Reads a page beside files. Errors and remarks are `LINE:COLUMN: message`.
fn read_with(text: &str, files: &[(&str, &str)]) -> Result<ReadPage, Vec<String>> {
    let home = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("a file");
    }
    let files = RunbookFiles::new(home.path().to_owned(), None);
    let found = read(&Page {
        name: "ops/web",
        text,
        files: &files,
    })
    .unwrap_or_default();
    found
        .without_flaws()
        .map_err(|flaws| flaws.iter().map(ToString::to_string).collect())
}

fn page(text: &str) -> ReadPage {
    read_with(text, &[]).expect(text)
}

fn only(text: &str) -> StepDefinition {
    let mut steps = page(text).steps;
    assert_eq!(steps.len(), 1, "{text}");
    *steps.remove(0).definition
}

fn errors(text: &str) -> Vec<String> {
    read_with(text, &[])
        .map(|page| page.steps.len())
        .expect_err(text)
}

fn remarks(text: &str) -> Vec<String> {
    let found = page(text);
    found.remarks.iter().map(ToString::to_string).collect()
}

/// Returns a page with one block of variables and one step that uses it.
fn with_inputs(yaml: &str) -> String {
    format!(
        "<Inputs id=\"in\">\n```yaml\n{yaml}```\n</Inputs>\n\n<Command id=\"a\" command=\"true\" inputsId=\"in\" />\n"
    )
}

fn params(yaml: &str) -> Value {
    json!(only(&with_inputs(yaml)).params)
}

#[test]
fn a_page_becomes_complete_definitions() {
    let text = "# Web\n\n<Inputs id=\"in\">\n```yaml\nvariables:\n  - {name: Host, validations: required}\n```\n</Inputs>\n\n<Check id=\"up\" \
                title=\"Is it\n  up?\" command=\"curl -f {{ .inputs.Host }}\" inputsId=\"in\" timeoutMs={1500}>\n  \
                Text.\n</Check>\n";
    let found = page(text);
    let step = &found.steps[0];
    assert_eq!(
        step.place,
        TextPlace {
            line: 10,
            column: 8
        }
    );
    let value = serde_json::to_value(&step.definition).expect("JSON");
    assert_eq!(
        value,
        json!({
            "ref": "ops/web:up", "title": "Is it up?", "format": "gruntwork", "interpreter": "bash",
            "source": "curl -f {{ .inputs.Host }}", "files": [], "template": "gruntwork",
            "params": {"type": "object", "required": ["Host"], "properties": {"Host": {"type": "string", "minLength": 1}}},
            "sandbox": {"limits": {"wall_ms": 1500}}, "approvals": {"required": 1, "from": []},
            "secrets": [], "outputs": [], "session": "none"
        })
    );
    assert_eq!(step.definition.check(), Ok(()));
    assert_eq!(
        only("<Command id=\"a\" command=\"true\" />").template,
        Template::None
    );
}

#[test]
fn only_required_variables_and_used_numbers_are_required_parameters() {
    let yaml = "variables:\n  - name: Text\n  - {name: Kind, type: enum, options: [dev, prod]}\n  - {name: Items, type: \
                list}\n  - {name: Flag, type: bool}\n  - {name: Count, type: int}\n  - {name: Ratio, type: float, default: \
                1.5}\n  - {name: Name, validations: [required]}\n";
    let schema = params(yaml);
    let default = |name: &str| {
        schema["properties"][name]
            .get("default")
            .cloned()
            .unwrap_or_default()
    };
    let defaults = ["Text", "Kind", "Items", "Flag", "Count", "Ratio", "Name"].map(default);
    assert_eq!(
        json!(defaults),
        json!(["", "dev", [], false, null, "1.5", null]),
        "a fraction is text"
    );
    assert_eq!(schema["required"], json!(["Name"]));
    for script in ["echo {{ .inputs.Count }}", "echo $PARAM_COUNT"] {
        let step = only(&with_inputs(yaml).replace("\"true\"", &format!("\"{script}\"")));
        assert_eq!(
            json!(step.params)["required"],
            json!(["Count", "Name"]),
            "{script}: no form gives a number"
        );
    }
}

#[test]
fn a_script_gets_the_functions_of_gruntwork_that_it_uses_and_does_not_define() {
    let source =
        |script: &str| only(&format!("<Command id=\"a\" command={{`{script}`}} />\n")).source;
    assert_eq!(source("echo log_information"), "echo log_information");
    let found = source("#!/bin/sh\nset -e\nlog_info hi");
    assert!(
        found.starts_with("#!/bin/sh\nlog_info() { TZ=UTC printf '[%s] [INFO]  %s\\n'"),
        "{found}"
    );
    assert!(found.ends_with("; }; set -e\nlog_info hi"), "{found}");
    let own = "log_info() { echo \"$*\"; }\nlog_info a; log_debug b";
    assert!(
        !source(own).contains("INFO") && source(own).starts_with("log_debug() { if "),
        "{}",
        source(own)
    );
    let python = "#!/usr/bin/env python3\nlog_info = print";
    assert_eq!(source(python), python);
}

#[test]
fn a_page_without_steps_is_prose() {
    for text in [
        "",
        "# Title\n\n<b",
        "A Command and a Check.\n",
        "```mdx\n<Command id=\"a\" />\n```\n",
        "<Commands />",
    ] {
        assert!(page(text).steps.is_empty(), "{text}");
    }
}

#[test]
fn the_script_is_the_text_that_mdx_gives_to_the_attribute() {
    for (attribute, script) in [
        (r#"command="echo 'a' > b && c""#, "echo 'a' > b && c"),
        (r#"command='echo "a"'"#, "echo \"a\""),
        (r#"command={"echo \"a\"\n"}"#, "echo \"a\"\n"),
        (r"command={'it\'s'}", "it's"),
        ("command={`a\nb \\`c\\` \\${D} $E }`}", "a\nb `c` ${D} $E }"),
        ("command={ /* } */ `x` }", "x"),
        ("command=\"a\nb\"", "a\nb"),
        ("command=\"a\n  b\"", "a\nb"),
        (
            r#"command="a &amp;&amp; b &lt; &#39;c&#39; &nbsp;&copy""#,
            "a && b < 'c' \u{a0}&copy",
        ),
        (r#"command="a \n b""#, r"a \n b"),
        (r#"command="sleep 5 &wait""#, "sleep 5 &wait"),
        (
            r#"command="a &#x24;&dollar;&amp;dollar;&none; &bar; &""#,
            "a $$&dollar;&none; &bar; &",
        ),
        (r#"command={"&amp;"}"#, "&amp;"),
    ] {
        assert_eq!(
            only(&format!("<Command id=\"a\" {attribute} />")).source,
            script,
            "{attribute}"
        );
        let block =
            format!("- item\n\n  text <Command id=\"a\"\n  {attribute}>\n  text</Command>\n");
        assert!(
            read_with(&block, &[]).is_ok_and(|page| page.steps.len() == 1),
            "{attribute}"
        );
    }
}

#[test]
fn a_search_of_the_text_would_find_other_steps_than_a_reader_of_the_page() {
    let text = r#"---
summary: <Command id="front" command="rm -rf /" />
---
{/* <Command id="comment" command="rm -rf /" /> */}

Inline: `<Command id="code" command="rm -rf /" />` and {'<Command id="text" command="rm -rf /" />'}.

~~~mdx
```
<Command id="fence" command="rm -rf /" />
```
~~~

    Four columns are no code block in MDX: <Check id="real" command="true" title='a > b <Command id="title" command="rm" />' />

\<Command id="escaped" command="rm" />

[link](<Command id="link" command="rm" />)

<Command data-id="other" id="second" title='command="rm -rf /"' path="a.sh" />

```
<Command id="one" command="`" />
~~~
<Command id="two" command="rm" />
```
"#;
    let found = read_with(text, &[("a.sh", "echo second\n")]).expect("a page");
    let steps: Vec<(&str, &str)> = found
        .steps
        .iter()
        .map(|step| {
            (
                step.definition.reference.step(),
                step.definition.source.as_str(),
            )
        })
        .collect();
    assert_eq!(steps, [("real", "true"), ("second", "echo second\n")]);
    let mut remarks: Vec<String> = found.remarks.iter().map(ToString::to_string).collect();
    // The registry sorts the remarks of a page.
    remarks.sort();
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert_eq!(remarks[0], "20:1: attributes without effect: data-id");
    assert!(
        remarks[1].starts_with("20:65: Gruntwork's registry takes another script"),
        "{remarks:?}"
    );
}

#[test]
fn a_remark_tells_where_gruntworks_registry_takes_other_bytes() {
    for differs in [
        r#"<Command id="a" command="a &#39; b" />"#,
        r#"<Command id="a" command={"\"a\""} />"#,
        r#"<Command id="a" command={"&amp;"} />"#,
        "<Command id=\"a\" command=\"a\n  b\" />",
        "<Command id=\"a\" command={ `a` } />",
        r#"<Command title='id="b"' id="a" command="a" />"#,
    ] {
        let remarks = remarks(differs);
        assert!(
            remarks
                .iter()
                .any(|remark| remark.contains("Gruntwork's registry takes another")),
            "{differs}"
        );
    }
    for same in [
        r#"<Command id="a" command="a &quot;b&quot; &amp;" />"#,
        "<Check id='a' command={`a\nb`}></Check>",
    ] {
        assert_eq!(remarks(same), [""; 0], "{same}");
    }
}

#[test]
fn all_errors_of_a_page_are_reported_with_their_places() {
    let text = r#"<Command command="a" />

<Command id="a-b" command="a" />
<Check id="a_b" command="b" />
<Check id="a-b" command="b" />

<Command id="c" />
<Command id="d" command="a" path="b.sh" />
<Command id="e" path="none.sh" />
<Command id="f" command={foo()} />
<Command id="g" command={`a ${b}`} />
<Command id="h" {...rest} command="a" />
<Command id="i j" command="a" id="k" />
<Command id={7} command title="a" />
<Command id="l" command="" timeoutMs={-1} />
<Command id="m" command="a" inputsId="nothing" awsAuthId="aws" />
<Command id="n" path="../up.sh" />
<Command id="o" command={'#!/bin/sh -e\ntrue'} />

{1 + 1}
"#;
    let found = errors(text);
    let places: Vec<&str> = found
        .iter()
        .map(|error| error.split_once(' ').map_or("", |(place, _)| place))
        .collect();
    assert_eq!(
        places,
        [
            "1:1:", "4:8:", "5:8:", "7:1:", "8:1:", "9:17:", "10:26:", "11:29:", "12:17:",
            "13:10:", "13:31:", "14:10:", "14:17:", "15:17:", "15:28:", "16:29:", "16:48:",
            "17:17:", "18:17:", "20:4:"
        ],
        "{found:#?}"
    );
    for (index, words) in [
        (0, "has no id: add"),
        (1, "\"a-b\" at 3:10 and \"a_b\" are the same name"),
        (2, "\"a-b\" is already at 3:10"),
        (3, "has no script: write"),
        (4, "both `command` and `path`"),
        (5, "can't be read"),
        (6, "runs no program code"),
        (7, "placeholder ${...}"),
        (8, "{...} is program code"),
        (9, "not a valid step id"),
        (10, "occurs twice"),
        (13, "the script is empty"),
        (14, "timeoutMs={300000}"),
        (15, "no <Inputs> or <Template> with the id \"nothing\""),
        (16, "no sign-in block"),
        (17, "not a path inside"),
        (18, "options in a shebang"),
    ] {
        assert!(found[index].contains(words), "{words}: {}", found[index]);
    }
}

#[test]
fn a_page_that_is_not_strict_mdx_is_refused_with_its_place() {
    let step = "<Command id=\"a\" command=\"true\" />\n";
    for (text, place, words) in [
        (format!("{step}\n<Open>\n"), "4:1", "Expected a closing tag"),
        (format!("{step}\na <1 b\n"), "3:4", "Unexpected character"),
        (format!("{step}\n{{a\n"), "4:1", "closing brace"),
        (format!("{step}\n{{a / b}}\n"), "3:4", "program code"),
        (
            format!("{step}\n{{x && <Command id=\"b\" command=\"c\" />}}\n"),
            "3:7",
            "program code",
        ),
        (
            format!("import x from 'y'\n\n{step}"),
            "1:1",
            "`import` and `export`",
        ),
        (
            format!("{step}\nexport const a = `\n\n{step}\n`\n"),
            "3:1",
            "`import` and `export`",
        ),
        (
            format!("{step}<!-- comment -->\n"),
            "2:2",
            "Unexpected character",
        ),
        (
            format!("{step}\n  <Command id=\"b\" command=\n\"c\" />\n"),
            "3:3",
            "no valid tag",
        ),
        (format!("{step}\nan ite<m\n"), "3:7", "no valid tag"),
        (
            format!("{step}\n<Check id=\"b\" command=\"&#128;\" />\n"),
            "3:22",
            "entity &#128;",
        ),
        (
            format!("{step}\n<Check id=\"b\" command=\"a &ampx; b\" />\n"),
            "3:22",
            "entity &ampx;",
        ),
        (format!("\u{feff}{step}"), "1:1", "byte order mark"),
        (format!("# A\r\n{step}"), "1:4", "Windows line endings"),
    ] {
        let found = errors(&text);
        assert!(
            found[0].starts_with(place) && found[0].contains(words),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn the_interpreter_is_the_shebang_or_bash() {
    let of = |name: &str, script: &str| {
        let page = read_with(
            &format!("<Command id=\"a\" path=\"{name}\" />"),
            &[(name, script)],
        );
        page.map(|page| page.steps[0].definition.interpreter.clone())
            .map_err(|errors| errors.join("\n"))
    };
    assert_eq!(
        of("s/a.py", "#!/usr/bin/env python3\nprint()\n").as_deref(),
        Ok("python3")
    );
    assert_eq!(of("a.sh", "echo\n").as_deref(), Ok("bash"));
    assert_eq!(of("a", "#!/bin/sh\necho\n").as_deref(), Ok("sh"));
    assert!(
        of("a.py", "print()\n").is_err_and(|error| error.contains("write #!/usr/bin/env python3"))
    );
    assert!(
        of("a.sh", "#!/bin/tcsh\necho\n").is_err_and(|error| error.contains("unknown interpreter"))
    );
    assert!(of("a.sh", "echo\r\n").is_err_and(|error| error.contains("Windows line endings")));
}

#[test]
fn each_type_of_variable_becomes_a_parameter() {
    let yaml = "variables:\n  - name: S\n    description: text\n    default: 7\n  - {name: I, type: int, default: '8'}\n  \
                - {name: F, type: float, default: \"1.5\"}\n  - {name: B, type: Bool, default: true}\n  \
                - {name: L, type: list, default: [a, b]}\n  - {name: E, type: enum, options: [dev, -x], default: dev}\n  \
                - {name: M, type: map, default: {a: b, c: {d: 1}}}\n  - {name: T, type: string, default: \"{{ .S }}\"}\n";
    assert_eq!(
        params(yaml),
        json!({"type": "object", "required": ["T"], "properties": {
            "S": {"type": "string", "description": "text", "default": "7"},
            "I": {"type": "integer", "default": 8},
            "F": {"type": "string", "pattern": "^-?[0-9]+(?:\\.[0-9]+)?$", "x-leading-dash": true, "default": "1.5"},
            "B": {"type": "boolean", "default": true},
            "L": {"type": "array", "items": {"type": "string"}, "default": ["a", "b"]},
            "E": {"type": "string", "enum": ["dev", "-x"], "x-leading-dash": true, "default": "dev"},
            "M": {"type": "object", "required": [], "default": {}, "properties": {
                "a": {"type": "string", "default": "b"},
                "c": {"type": "object", "required": [], "default": {}, "properties": {"d": {"type": "integer", "default": 1}}}
            }},
            "T": {"type": "string"}
        }})
    );
    assert!(remarks(&with_inputs(yaml))[0].contains("T: the default is a template"));
}

#[test]
fn validations_become_keywords_of_the_schema_or_a_remark() {
    let yaml = "variables:\n  - name: A\n    validations: [required, {type: length, args: [2, 9]}]\n  - name: B\n    \
                validations:\n      - type: regex\n        regex: \"^[a-z]+$\"\n  - {name: C, type: list, validations: \
                [required], default: []}\n  - {name: D, validations: [required], default: ''}\n  - {name: E, validations: \
                [alpha, {type: regex, args: ['(?=a)']}]}\n";
    let schema = params(yaml);
    assert_eq!(
        schema["properties"],
        json!({
            "A": {"type": "string", "minLength": 2, "maxLength": 9},
            "B": {"type": "string", "pattern": "^(?:[a-z]+)?$", "default": ""},
            "C": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "D": {"type": "string", "minLength": 1},
            "E": {"type": "string", "pattern": "^(?:[a-zA-Z]+)?$", "default": ""}
        })
    );
    let notes = remarks(&with_inputs(
        "variables:\n  - {name: A, validations: [custom-rule]}\n  - {name: B, type: int, validations: [digit]}\n  - {name: C, \
         validations: [{type: regex, regex: '(?=a)'}, url]}\n",
    ));
    assert_eq!(notes.len(), 4, "{notes:#?}");
    assert!(
        notes[0].starts_with("4:12: A: the validation \"custom-rule\" is not checked"),
        "{notes:#?}"
    );
    assert!(notes[2].contains("look-around"), "{notes:#?}");
}

#[test]
fn errors_in_variables_have_the_place_of_the_variable() {
    for (yaml, place, words) in [
        ("variables: 7\n", "3:12:", "must be a list"),
        ("variables:\n  - type: int\n", "4:5:", "no name"),
        (
            "variables:\n  - {name: A, type: number}\n",
            "4:12:",
            "unknown type",
        ),
        (
            "variables:\n  - {name: A, type: int, default: x}\n",
            "4:12:",
            "no int",
        ),
        (
            "variables:\n  - {name: A, type: enum}\n",
            "4:12:",
            "needs `options`",
        ),
        (
            "variables:\n  - {name: A, default: -x}\n",
            "4:12:",
            "begins with `-`",
        ),
        (
            "variables:\n  - {name: A, type: enum, options: [a], default: b}\n",
            "4:12:",
            "default does not fit",
        ),
        (
            "variables:\n  - {name: A}\n  - {name: A}\n",
            "5:12:",
            "declared twice",
        ),
        ("variables:\n  - {name: inputs}\n", "4:12:", "use this name"),
        (
            "variables:\n  - {name: A b}\n",
            "4:12:",
            "not a valid parameter name",
        ),
        (
            "variables:\n  - {name: A-b}\n  - {name: a_B}\n",
            "",
            "both become the variable PARAM_A_B",
        ),
        (
            "variables:\n  - {name: A, type: int, sensitive: true}\n",
            "4:12:",
            "only a string",
        ),
        ("variables: [a\n", "", "not readable as YAML"),
        (
            "variables:\n  - {name: 'true', type: map}\n",
            "4:12:",
            "no known keys",
        ),
    ] {
        let found = errors(&with_inputs(yaml));
        assert!(
            found[0].starts_with(place) && found[0].contains(words),
            "{yaml}: {found:?}"
        );
    }
}

#[test]
fn a_map_without_known_keys_is_an_error_only_if_the_script_uses_the_map() {
    let yaml = "variables:\n  - {name: Tags, type: map}\n";
    let text = with_inputs(yaml);
    let unused = page(&text);
    assert_eq!(
        json!(unused.steps[0].definition.params)["properties"],
        json!({})
    );
    assert!(unused.remarks[0].message.contains("no script uses it"));
    let used = text.replace("\"true\"", "\"echo {{ .inputs.Tags }}\"");
    assert!(errors(&used)[0].contains("write a `default` with every key"));
}

#[test]
fn a_sensitive_variable_is_a_secret_without_a_value() {
    let schema = params(
        "variables:\n  - {name: P, sensitive: true, default: x, validations: [required, digit]}\n",
    );
    assert_eq!(
        schema["properties"]["P"],
        json!({"type": "string", "minLength": 1, "x-secret": true})
    );
    assert_eq!(schema["required"], json!(["P"]));
}

#[test]
fn variables_come_from_fences_at_any_indentation_and_from_boilerplate_files() {
    let text = "<Inputs id=\"file\" path=\"templates/vpc/\" prefilledVariables={{ Cidr: \"10.1.0.0/16\" }} />\n\n\
                <Template id=\"tpl\" path=\"templates/app\" />\n\n- item\n\n    <Check id=\"a\" command=\"true\" \
                inputsId={[\"file\", 'tpl']}>\n      <Inputs id=\"inner\">\n        ```yaml\n        variables:\n          \
                - name: Inner\n        ```\n      </Inputs>\n    </Check>\n\n<Command id=\"b\" command=\"true\" />\n";
    let vpc =
        "variables:\n  - {name: Cidr, default: 10.0.0.0/16}\n  - {name: Both, default: vpc}\n";
    let app = "variables:\n  - {name: Both, default: app}\n";
    let found = read_with(
        text,
        &[
            ("templates/vpc/boilerplate.yml", vpc),
            ("templates/app/boilerplate.yml", app),
        ],
    );
    let found = found.expect("a page");
    let schema = json!(found.steps[0].definition.params);
    assert_eq!(
        schema["properties"],
        json!({"Cidr": {"type": "string", "default": "10.1.0.0/16"}, "Both": {"type": "string", "default": "app"},
               "Inner": {"type": "string", "default": ""}})
    );
    assert_eq!(
        json!(found.steps[1].definition.params)["properties"],
        json!({}),
        "a step without `inputsId` has no parameters"
    );
    let broken = [
        (
            "templates/vpc/boilerplate.yml",
            "variables:\n  - {name: A b}\n",
        ),
        ("templates/app/boilerplate.yml", ""),
    ];
    let errors = read_with(text, &broken)
        .map(|page| page.steps.len())
        .expect_err("a bad name");
    assert!(
        errors[0].starts_with("1:19: templates/vpc/boilerplate.yml:2:12: A b: "),
        "{errors:?}"
    );
    let inner = text.replace("- name: Inner", "- name: A b");
    let errors = read_with(
        &inner,
        &[
            ("templates/vpc/boilerplate.yml", ""),
            ("templates/app/boilerplate.yml", ""),
        ],
    );
    assert!(
        errors.map(|page| page.steps.len()).expect_err("a bad name")[0].starts_with("11:19: A b: ")
    );
    let none = "<Inputs id=\"i\">\n- name: A\n</Inputs>\n\n<Command id=\"a\" command=\"b\" inputsId=\"i\" />\n";
    assert!(
        super::tests::errors(none)[0]
            .starts_with("1:1: <Inputs> must have its variables in exactly one place")
    );
}

#[test]
fn a_tag_declares_secrets_beside_those_of_its_sign_in() {
    let page = |secrets: &str| {
        format!(
            "<AwsAuth id=\"aws\" />\n\n<Command id=\"a\" awsAuthId=\"aws\" secrets=\"{secrets}\" command=\"true\" />\n"
        )
    };
    let step = only(&page("zoo=env:ZOO, a=file:A"));
    let names: Vec<&str> = step
        .secrets
        .iter()
        .map(|secret| secret.name.as_str())
        .collect();
    assert_eq!(
        (names.len(), names[0], names[5]),
        (6, "a", "zoo"),
        "{names:?}"
    );
    assert!(errors(&page("mine=env:AWS_REGION"))[0].contains("AWS_REGION is already set by"));
    assert!(errors(&page("a=b"))[0].contains("write a=env:VARIABLE"));
}

#[test]
fn a_sign_in_names_the_secrets_of_the_step() {
    let text = "<AwsAuth id=\"aws\" />\n<GitAuth id=\"lab\" provider=\"gitlab\" />\n<GoogleAuth id=\"gcp\" />\n\n<Command \
                id=\"a\" command=\"true\" awsAuthId=\"aws\" gitAuthId=\"lab\" googleAuthId=\"gcp\" />\n";
    let secrets = only(text).secrets;
    let names: Vec<&str> = secrets.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "aws.AWS_ACCESS_KEY_ID",
            "aws.AWS_REGION",
            "aws.AWS_SECRET_ACCESS_KEY",
            "aws.AWS_SESSION_TOKEN",
            "gcp.CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
            "gcp.CLOUDSDK_CORE_ACCOUNT",
            "gcp.CLOUDSDK_CORE_PROJECT",
            "gcp.GOOGLE_APPLICATION_CREDENTIALS",
            "gcp.GOOGLE_CLOUD_PROJECT",
            "gcp.GOOGLE_PROJECT",
            "lab.GITLAB_TOKEN",
            "lab.GITLAB_USER"
        ]
    );
    let credentials = &secrets[7];
    assert_eq!(credentials.given, SecretAs::File);
    assert_eq!(
        credentials.variable.as_ref().map(|name| name.as_str()),
        Some("GOOGLE_APPLICATION_CREDENTIALS")
    );
    assert_eq!(only(text).check(), Ok(()));
    let wrong = text.replace("gitAuthId", "githubAuthId");
    assert!(errors(&wrong)[0].contains("is a <GitAuth>, which `githubAuthId` can't name"));
    let twice = "<GitHubAuth id=\"g\" />\n\n<Check id=\"a\" command=\"b\" githubAuthId=\"g\" gitAuthId=\"g\" />\n";
    assert!(errors(twice)[0].contains("GITHUB_TOKEN is already set"));
}

#[test]
fn attributes_without_effect_are_named() {
    let text = "<Command id=\"a\" command=\"b\" usePty={false} description=\"c\" successMessage=\"d\" />\n";
    assert_eq!(
        remarks(text),
        ["1:1: attributes without effect: description, successMessage, usePty"]
    );
}

#[test]
fn a_block_declares_what_it_needs_of_the_host() {
    let text = "<Command id=\"a\" command=\"b\" network=\"api.example.com:443\" read={\"/srv/a\"} memory=\"64MiB\" \
                programs=\"jq,curl\" run-as=\"web\" timeoutMs={5000} />\n";
    let step = only(text);
    let hosts = vec!["api.example.com:443".to_owned()];
    assert_eq!(
        step.sandbox.network,
        Some(documents::DeclaredNetwork::Allow(hosts))
    );
    assert_eq!(step.sandbox.read, Some(vec!["/srv/a".to_owned()]));
    assert_eq!(step.sandbox.run_as.as_deref(), Some("web"));
    let limits = step.sandbox.limits.expect("limits");
    assert_eq!(
        (limits.memory_bytes, limits.wall_ms),
        (Some(64 << 20), Some(5000))
    );
    let programs: Vec<String> = step
        .programs
        .expect("programs")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(programs, ["curl", "jq"]);
    assert_eq!(remarks(text), [""; 0]);
    for (attributes, expected) in [
        (
            "network=\"example\"",
            "1:29: the address \"example\" has no port",
        ),
        ("read=\"srv\"", "1:29: the path \"srv\""),
        ("read={1}", "1:29: `read` must be a text"),
        ("write=\"/srv/a\"", "1:29: "),
        ("memory=\"x\"", "1:29: \"x\" is not valid"),
        ("programs=\"a,,b\"", "1:29: a name is empty"),
    ] {
        let found = errors(&format!(
            "<Command id=\"a\" command=\"b\" {attributes} />\n"
        ));
        assert!(found[0].starts_with(expected), "{attributes}: {found:?}");
    }
    // A page can't switch off the sandbox.
    assert_eq!(
        remarks("<Command id=\"a\" command=\"b\" sandbox=\"off\" reason=\"x\" />\n"),
        ["1:1: attributes without effect: reason, sandbox"]
    );
}

#[test]
fn deep_nesting_and_large_pages_are_refused_quickly() {
    let step = "<Command id=\"a\" command=\"true\" />\n\n";
    let room = MAX_PAGE_BYTES - step.len();
    let fill = |part: &str| part.repeat(room / part.len());
    let start = Instant::now();
    for part in [
        "> ", ">", "- ", "1. ", "<a>", "<a>\n", "<>", "[", "![", "{", "[](", "<a b={",
    ] {
        assert!(
            read_with(&format!("{step}{}", fill(part)), &[]).is_err(),
            "{part}"
        );
    }
    let braces = format!("{step}{{\"{}", fill("}"));
    assert!(read_with(&braces, &[]).is_err());
    let levels = |count: usize| {
        format!(
            "{}{step}{}",
            "<A>\n\n".repeat(count),
            "\n\n</A>".repeat(count)
        )
    };
    assert!(read_with(&levels(90), &[]).is_ok());
    assert!(errors(&levels(120))[0].contains("nested deeper than 100 levels"));
    assert_eq!(
        errors(&format!("{step}{}", "# a\n".repeat(10_000))),
        ["10001:1: the page has more than 10000 lines: split the page"]
    );
    let quotes = format!("{}{step}", "> ".repeat(120));
    assert!(errors(&quotes)[0].contains("nested deeper than 100 levels"));
    assert!(
        errors(&" ".repeat(MAX_PAGE_BYTES + 1).replacen(' ', "Command", 1))[0]
            .contains("larger than 262144 bytes")
    );
    // The bound is far above the time on a busy host, and far below the time without the limits.
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn an_output_of_another_block_is_a_required_parameter_of_the_step() {
    let step =
        only("<Command id=\"a\" command=\"echo {{ .outputs.create-account.account_id }}\" />\n");
    let name = "outputs_create_account_account_id";
    assert_eq!(json!(step.params)["required"], json!([name]));
    assert_eq!(
        json!(step.params)["properties"][name],
        json!({"type": "string", "description": "Output of an earlier block", "maxLength": 4096})
    );
}

#[test]
fn a_page_with_too_many_steps_is_refused_with_the_place_of_the_first_step_that_is_too_many() {
    let steps = |count| {
        (0..count)
            .map(|at| format!("<Command id=\"s{at}\" command=\"true\" />\n\n"))
            .collect::<String>()
    };
    assert_eq!(page(&steps(MAX_STEPS)).steps.len(), MAX_STEPS);
    assert_eq!(
        errors(&steps(MAX_STEPS + 1)),
        ["1001:1: the page has more than 500 steps: split the page"]
    );
}
