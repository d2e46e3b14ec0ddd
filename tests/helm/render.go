// Renders a Helm chart for tests where Helm itself cannot be installed: Go's templates, sprig's functions, and those
// functions of Helm's own that the chart uses. Values are not checked against the schema.
//
//	render CHART RELEASE VALUES.json
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"github.com/ghodss/yaml"
)

// The chart's files beside its templates.
type files string

// Get returns the text of a file, or nothing if there is none.
func (chart files) Get(name string) string {
	text, _ := os.ReadFile(filepath.Join(string(chart), name))
	return string(text)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(path string) map[string]interface{} {
	text, err := os.ReadFile(path)
	check(err)
	var values map[string]interface{}
	check(yaml.Unmarshal(text, &values))
	return values
}

// Puts values over defaults, as Helm does: maps are merged, all else is replaced, null removes.
func merge(over, defaults map[string]interface{}) map[string]interface{} {
	for name, value := range over {
		below, isMap := defaults[name].(map[string]interface{})
		above, areMaps := value.(map[string]interface{})
		switch {
		case value == nil:
			delete(defaults, name)
		case isMap && areMaps:
			defaults[name] = merge(above, below)
		default:
			defaults[name] = value
		}
	}
	return defaults
}

func main() {
	chart, release := os.Args[1], os.Args[2]
	var given map[string]interface{}
	check(json.Unmarshal([]byte(os.Args[3]), &given))
	described := read(filepath.Join(chart, "Chart.yaml"))
	root := map[string]interface{}{
		"Values":   merge(given, read(filepath.Join(chart, "values.yaml"))),
		"Release":  map[string]interface{}{"Name": release, "Namespace": "default", "Service": "Helm"},
		"Chart":    map[string]interface{}{"Name": described["name"], "Version": described["version"], "AppVersion": described["appVersion"]},
		"Template": map[string]interface{}{"BasePath": "assay/templates"},
		"Files":    files(chart),
	}
	all := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	functions["include"] = func(name string, data interface{}) (string, error) {
		var text strings.Builder
		err := all.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	functions["toYaml"] = func(value interface{}) string {
		text, _ := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n")
	}
	functions["fail"] = func(reason string) (string, error) { return "", errors.New(reason) }
	all.Funcs(functions)
	paths, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	check(err)
	sort.Strings(paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		check(err)
		_, err = all.New("assay/templates/" + filepath.Base(path)).Parse(string(text))
		check(err)
	}
	for _, path := range paths {
		if filepath.Ext(path) == ".yaml" {
			var text strings.Builder
			check(all.ExecuteTemplate(&text, "assay/templates/"+filepath.Base(path), root))
			fmt.Printf("---\n# Source: %s\n%s\n", filepath.Base(path), strings.ReplaceAll(text.String(), "<no value>", ""))
		}
	}
}
